//! A real polkitd on the bus of a house, and an agent that answers its dialogs as the test says.
//!
//! polkitd runs in a mount namespace of its own, where the actions are those that we ship and the rules those of the test. The agent
//! is the part of a desktop that asks for a password; here it has none to check and tells polkitd as root what came of it, which is
//! what the helper of a real agent does.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use tokio::sync::Notify;
use zbus::wire::{OwnedVariant, Variant};

use super::{House, until};

const ACTIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policy/polkit/org.greffier.archive.policy");
const PROGRAMS: [&str; 3] =
    ["/usr/lib/polkit-1/polkitd", "/usr/libexec/polkit-1/polkitd", "/usr/libexec/polkitd"];
const NAME: &str = "org.freedesktop.PolicyKit1";
const AUTHORITY: &str = "/org/freedesktop/PolicyKit1/Authority";
const AGENT: &str = "/org/greffier/Test/Agent";

/// polkitd, for as long as it lives.
pub struct Polkitd {
    process: Child,
}

impl Polkitd {
    /// Starts it. `rules`: what a site says, in the language of polkit; empty for none.
    pub fn start(house: &House, rules: &str) -> Self {
        let dir = house.path("polkit");
        let (actions, site) = (dir.join("actions"), dir.join("rules"));
        for folder in [&dir, &actions, &site] {
            let _there = fs::create_dir(folder);
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::copy(ACTIONS, actions.join("org.greffier.archive.policy")).unwrap();
        fs::write(site.join("site.rules"), rules).unwrap();
        let program = PROGRAMS.iter().find(|program| Path::new(program).exists());
        let log = fs::File::create(dir.join("log")).unwrap();
        let process = Command::new("unshare")
            .args(["--mount", "sh", "-ec"])
            .arg(
                "mount --bind \"$1\" /usr/share/polkit-1/actions; mount --bind \"$2\" /etc/polkit-1/rules.d; exec \"$0\" --no-debug",
            )
            .arg(program.expect("polkitd must be installed"))
            .args([&actions, &site])
            .env("DBUS_SYSTEM_BUS_ADDRESS", &house.address)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let polkitd = Self { process };
        let bus = Root::connect(&house.address);
        until("polkitd serves", || bus.has_owner(NAME).then_some(()));
        polkitd
    }
}

impl Drop for Polkitd {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// What the agent does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// The person gives the right password.
    Right,
    /// A wrong one.
    Wrong,
    /// Closes the dialog.
    Dismiss,
    /// Does nothing, until the dialog is taken back.
    Wait,
}

/// One dialog, as the person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    pub action: String,
    pub message: String,
    /// The uids who may answer.
    pub who: Vec<u32>,
}

/// An agent for every caller that is a thread of this process.
pub struct Agent {
    dialogs: mpsc::Receiver<Dialog>,
    taken_back: mpsc::Receiver<()>,
    behaviour: Arc<Mutex<Behaviour>>,
    end: Arc<Notify>,
    back: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Registers it; `locale` is the language of the person.
    pub fn start(house: &House, locale: &str, behaviour: Behaviour) -> Self {
        let (tell, dialogs) = mpsc::channel();
        let (tell_back, taken_back) = mpsc::channel();
        let (ready, registered) = mpsc::channel();
        let behaviour = Arc::new(Mutex::new(behaviour));
        let end = Arc::new(Notify::new());
        let (address, locale) = (house.address.clone(), locale.to_owned());
        let back = Arc::new(Notify::new());
        let (acts, ends, backs) = (behaviour.clone(), end.clone(), back.clone());
        let thread = std::thread::spawn(move || {
            let root = Root::connect(&address);
            root.runtime.block_on(async {
                let interface = Interface {
                    bus: root.connection.clone(),
                    tell: Mutex::new(tell),
                    tell_back: Mutex::new(tell_back),
                    behaviour: acts,
                    back: backs,
                };
                root.connection.object_server().at(AGENT, interface).await.unwrap();
                let subject = ("unix-process", this_process());
                let body = (subject, locale, AGENT);
                let interface = Some("org.freedesktop.PolicyKit1.Authority");
                let call = root.connection.call_method(
                    Some(NAME),
                    AUTHORITY,
                    interface,
                    "RegisterAuthenticationAgent",
                    &body,
                );
                call.await.unwrap();
                ready.send(()).unwrap();
                ends.notified().await;
                let body = (("unix-process", this_process()), AGENT);
                let end = "UnregisterAuthenticationAgent";
                // polkitd may have ended before.
                let _gone = root.connection.call_method(Some(NAME), AUTHORITY, interface, end, &body).await;
            });
        });
        registered.recv().expect("the agent was not registered");
        Self { dialogs, taken_back, behaviour, end, back, thread: Some(thread) }
    }

    /// From now on it does this.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// The dialog that opens next.
    pub fn dialog(&self) -> Dialog {
        self.dialogs.recv_timeout(super::PATIENCE).expect("no dialog opened")
    }

    /// The dialogs that have opened and nobody looked at.
    pub fn unseen(&self) -> Vec<Dialog> {
        self.dialogs.try_iter().collect()
    }

    /// Whoever was left to wait closes the dialog.
    pub fn close_all(&self) {
        self.back.notify_waiters();
    }

    /// Waits until a dialog is taken back.
    pub fn taken_back(&self) {
        self.taken_back.recv_timeout(super::PATIENCE).expect("the dialog stayed open");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end.notify_one();
        if let Some(thread) = self.thread.take() {
            let _failed_and_said_so = thread.join();
        }
    }
}

struct Interface {
    bus: zbus::Connection,
    tell: Mutex<mpsc::Sender<Dialog>>,
    tell_back: Mutex<mpsc::Sender<()>>,
    behaviour: Arc<Mutex<Behaviour>>,
    back: Arc<Notify>,
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.PolicyKit1.Error")]
enum AgentError {
    #[zbus(error)]
    ZBus(zbus::Error),
    Cancelled(String),
}

type Identity = (String, HashMap<String, OwnedVariant>);

#[zbus::interface(name = "org.freedesktop.PolicyKit1.AuthenticationAgent")]
impl Interface {
    async fn begin_authentication(
        &self,
        action: String,
        message: String,
        _icon: String,
        _details: HashMap<String, String>,
        cookie: String,
        identities: Vec<Identity>,
    ) -> Result<(), AgentError> {
        let who = identities.iter().filter_map(|(_, keys)| u32::try_from(keys.get("uid")?.clone()).ok());
        let dialog = Dialog { action, message, who: who.collect() };
        // First: the test says how the next one ends once it has seen this one.
        let behaviour = *self.behaviour.lock().unwrap();
        let _nobody_looks = self.tell.lock().unwrap().send(dialog);
        match behaviour {
            Behaviour::Right => {
                let body = (0_u32, cookie, &identities[0]);
                let interface = Some("org.freedesktop.PolicyKit1.Authority");
                let answer = "AuthenticationAgentResponse2";
                self.bus.call_method(Some(NAME), AUTHORITY, interface, answer, &body).await?;
                Ok(())
            }
            Behaviour::Wrong => Ok(()),
            Behaviour::Dismiss => Err(AgentError::Cancelled("closed".into())),
            Behaviour::Wait => {
                self.back.notified().await;
                Err(AgentError::Cancelled("taken back".into()))
            }
        }
    }

    async fn cancel_authentication(&self, _cookie: String) {
        let _nobody_looks = self.tell_back.lock().unwrap().send(());
        self.back.notify_waiters();
    }
}

/// This process as polkit names one.
fn this_process() -> HashMap<&'static str, Variant<'static>> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    let start: u64 = after.split_whitespace().nth(19).unwrap().parse().unwrap();
    [
        ("pid", Variant::from(std::process::id())),
        ("start-time", Variant::from(start)),
        ("uid", Variant::from(0_i32)),
    ]
    .into()
}

/// A connection of root.
struct Root {
    runtime: tokio::runtime::Runtime,
    connection: zbus::Connection,
}

impl Root {
    fn connect(address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connecting = async { zbus::connection::Builder::address(address).build().await };
        let connection = runtime.block_on(connecting).expect("the bus lets root connect");
        Self { runtime, connection }
    }

    fn has_owner(&self, name: &'static str) -> bool {
        self.runtime.block_on(async {
            let bus = zbus::fdo::DBusProxy::new(&self.connection).await.unwrap();
            bus.name_has_owner(name.try_into().unwrap()).await.unwrap()
        })
    }
}

/// Where polkit may be asked in the configuration of a house.
pub fn let_ask(house: &House) {
    let path: PathBuf = house.path("etc/greffier.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("polkit = false"));
    fs::write(path, text.replace("polkit = false", "polkit = true")).unwrap();
}
