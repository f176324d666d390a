//! Somebody on the bus: a thread that has taken on the identity of an account before it connected, so that the bus, the
//! daemon and the kernel see that account and nobody else.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Gid, Uid};
use tokio::runtime::Runtime;
use zbus::wire::{OwnedFd, OwnedObjectPath, OwnedVariant, Variant};

/// Root object of the service.
pub const ROOT: &str = "/org/greffier/Archive1";
const NAME: &str = "org.greffier.Archive1";

/// A dictionary of texts, as most requests are.
pub type Keys = HashMap<String, Variant<'static>>;
/// An answer.
pub type Fields = HashMap<String, OwnedVariant>;

/// The keys of a request.
pub fn keys(pairs: &[(&str, &str)]) -> Keys {
    let own = |(key, text): &(&str, &str)| ((*key).to_owned(), Variant::from((*text).to_owned()));
    pairs.iter().map(own).collect()
}

/// A text of an answer.
pub fn text(fields: &Fields, key: &str) -> String {
    let value = fields.get(key).unwrap_or_else(|| panic!("no {key} in {fields:?}"));
    String::try_from(value.clone()).unwrap()
}

/// A number of an answer.
pub fn number(fields: &Fields, key: &str) -> u64 {
    let value = fields.get(key).unwrap_or_else(|| panic!("no {key} in {fields:?}"));
    u64::try_from(value.clone()).unwrap()
}

/// A refusal as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Without `org.greffier.Archive1.Error.`; the whole name if it is another's.
    pub name: String,
    pub sentence: String,
}

impl Refused {
    /// The entry that the sentence names.
    pub fn entry(&self) -> Option<u64> {
        let after = self.sentence.split("Recorded as entry ").nth(1)?;
        after.split('.').next()?.parse().ok()
    }

    /// The sentence without the number of the entry.
    pub fn without_entry(&self) -> String {
        self.entry().map_or_else(
            || self.sentence.clone(),
            |entry| self.sentence.replace(&format!("entry {entry}"), "entry N"),
        )
    }
}

/// An opened recording.
#[derive(Debug, Clone)]
pub struct Opened {
    pub session: String,
    pub file: Arc<File>,
    pub entry: u64,
    pub bytes: u64,
    pub expires: String,
}

/// The connection of one account. Lives on the thread of that account.
pub struct Client {
    runtime: Runtime,
    connection: zbus::Connection,
}

type Work = Box<dyn FnOnce(&Client) + Send>;

/// An account, connected. Dropping it leaves the bus.
pub struct User {
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl User {
    /// Connects as `account`.
    pub fn connect(account: &str, address: &str) -> Self {
        let (work, queue) = mpsc::channel::<Work>();
        let found = nix::unistd::User::from_name(account).unwrap().expect("every Debian has this account");
        let address = address.to_owned();
        let thread = std::thread::spawn(move || {
            become_account(found.uid.as_raw(), found.gid.as_raw());
            let client = Client::connect(&address);
            for act in queue {
                act(&client);
            }
        });
        Self { work: Some(work), thread: Some(thread) }
    }

    /// Lets the account do something, and waits for it.
    pub fn run<T: Send + 'static>(&self, act: impl FnOnce(&Client) -> T + Send + 'static) -> T {
        self.start(act).recv().expect("what the user did failed")
    }

    /// Lets the account do something meanwhile.
    pub fn start<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Client) -> T + Send + 'static,
    ) -> mpsc::Receiver<T> {
        let (answer, answered) = mpsc::channel();
        let work: Work = Box::new(move |client| {
            let _nobody_waits = answer.send(act(client));
        });
        self.work.as_ref().unwrap().send(work).expect("the user is still there");
        answered
    }

    /// Passes a recording over the bus; its id.
    pub fn seal(&self, bytes: &[u8], metadata: &[(&str, &str)]) -> Result<String, Refused> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        // Nobody writes to it any more.
        let file = File::open(file.into_temp_path()).unwrap();
        let metadata = keys(metadata);
        self.run(move |client| client.seal(file, &metadata))
    }

    /// Opens a recording.
    pub fn open(&self, id: &str, request: &[(&str, &str)]) -> Result<Opened, Refused> {
        let (id, request) = (id.to_owned(), keys(request));
        self.run(move |client| client.open(&id, &request))
    }

    /// Reads from a descriptor, with the uid of this account.
    pub fn read(&self, file: &Arc<File>, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = file.clone();
        self.run(move |_| {
            let mut bytes = vec![0; len];
            let read = file.read_at(&mut bytes, offset)?;
            bytes.truncate(read);
            Ok(bytes)
        })
    }

    /// The ids of what a search for `reason` finds.
    pub fn search(&self, reason: &str) -> Result<Vec<String>, Refused> {
        let filter = keys(&[("reason", reason)]);
        let rows = self.run(move |client| client.search(&filter))?;
        Ok(rows.iter().map(|row| text(row, "id")).collect())
    }

    /// What is known of a recording.
    pub fn describe(&self, id: &str) -> Result<Fields, Refused> {
        let id = id.to_owned();
        self.run(move |client| client.ask(ROOT, "Recordings", "Describe", &id))
    }

    /// Places a hold; its object.
    pub fn hold(&self, request: &[(&str, &str)]) -> Result<String, Refused> {
        let request = keys(request);
        let path: OwnedObjectPath =
            self.run(move |client| client.ask(ROOT, "Retention", "Hold", &request))?;
        Ok(path.to_string())
    }

    /// Lifts a hold.
    pub fn lift(&self, hold: &str, request: &[(&str, &str)]) -> Result<(), Refused> {
        let (hold, request) = (hold.to_owned(), keys(request));
        self.run(move |client| client.ask(&hold, "Hold", "Lift", &request))
    }

    /// Destroys what is due.
    pub fn run_retention(&self) -> Result<Fields, Refused> {
        self.run(|client| client.ask(ROOT, "Retention", "Run", &()))
    }

    /// Reads entries, with their details.
    pub fn read_ledger(&self, from: u64, count: u32) -> Result<Vec<String>, Refused> {
        let details: Keys = [("details".to_owned(), Variant::from(true))].into();
        self.run(move |client| client.ask(ROOT, "Ledger", "Read", &(from, count, details)))
    }

    /// Records an act in a register; the id of what it is about.
    pub fn record(&self, register: &str, act: &str, request: &[(&str, &str)]) -> Result<String, Refused> {
        self.record_with(register, act, keys(request))
    }

    /// The same with keys that are no texts.
    pub fn record_with(&self, register: &str, act: &str, request: Keys) -> Result<String, Refused> {
        let (register, act) = (register.to_owned(), act.to_owned());
        let recorded: Result<(String, u64), Refused> =
            self.run(move |client| client.ask(ROOT, "Registers", "Record", &(register, act, request)));
        recorded.map(|(id, _)| id)
    }

    /// The rows of a register that this account may see.
    pub fn register(&self, register: &str) -> Result<Vec<Fields>, Refused> {
        let (register, filter) = (register.to_owned(), Keys::new());
        self.run(move |client| client.ask(ROOT, "Registers", "List", &(register, filter)))
    }

    /// Loads the policy again.
    pub fn reload(&self) -> Result<(), Refused> {
        self.run(|client| client.ask(ROOT, "Manager", "Reload", &()))
    }

    /// State and why.
    pub fn state(&self) -> (String, String) {
        let status = self.run(|client| client.status()).unwrap();
        (text(&status, "state"), text(&status, "why"))
    }

    /// Numbers and words of the service.
    pub fn status(&self) -> Fields {
        self.run(|client| client.status()).unwrap()
    }

    /// Ends a session.
    pub fn close(&self, session: &str) -> Result<(), Refused> {
        let session = session.to_owned();
        self.run(move |client| client.ask(&session, "Session", "Close", &()))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _failed_and_said_so = thread.join();
        }
    }
}

/// The calling thread alone becomes this account, for ever.
fn become_account(uid: u32, gid: u32) {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_groups(&[]).expect("these tests need root");
    rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
    rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
}

impl Client {
    fn connect(address: &str) -> Self {
        // One thread: what this account does, it does itself.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connecting = async {
            let builder = zbus::connection::Builder::address(address);
            builder.method_timeout(Duration::from_secs(60)).build().await
        };
        let connection = runtime.block_on(connecting).expect("the bus lets every account connect");
        Self { runtime, connection }
    }

    /// Calls a method of the service. `interface` without its common beginning.
    pub fn ask<T, B>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<T, Refused>
    where
        T: serde::de::DeserializeOwned + zbus::wire::Type,
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        self.call(path, &format!("{NAME}.{interface}"), method, body)
    }

    /// Calls a method of any interface of the service.
    pub fn call<T, B>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<T, Refused>
    where
        T: serde::de::DeserializeOwned + zbus::wire::Type,
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let call = self.connection.call_method(Some(NAME), path, Some(interface), method, body);
        let reply = self.runtime.block_on(call).map_err(refused)?;
        Ok(reply.body().deserialize().unwrap())
    }

    /// Calls a method that must be refused; what it answers otherwise does not matter.
    pub fn refused<B>(&self, path: &str, interface: &str, method: &str, body: &B) -> Refused
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let interface = format!("{NAME}.{interface}");
        let call = self.connection.call_method(Some(NAME), path, Some(interface), method, body);
        refused(self.runtime.block_on(call).expect_err("it was to be refused"))
    }

    /// Calls a method of which only matters whether it is allowed.
    pub fn answer<B>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<(), Refused>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let call = self.connection.call_method(Some(NAME), path, Some(interface), method, body);
        self.runtime.block_on(call).map(|_| ()).map_err(refused)
    }

    /// `Recordings.Open`.
    pub fn open(&self, id: &str, request: &Keys) -> Result<Opened, Refused> {
        let (session, file, info): (OwnedObjectPath, OwnedFd, Fields) =
            self.ask(ROOT, "Recordings", "Open", &(id, request))?;
        let file = Arc::new(File::from(std::os::fd::OwnedFd::from(file)));
        let (entry, bytes) = (number(&info, "entry"), number(&info, "bytes"));
        Ok(Opened { session: session.to_string(), file, entry, bytes, expires: text(&info, "expires") })
    }

    /// `Recordings.Open` twice at the same time; the one that is refused first.
    pub fn open_twice(&self, id: &str, request: &Keys) -> Refused {
        let body = (id, request);
        let call = || {
            let interface = Some("org.greffier.Archive1.Recordings");
            self.connection.call_method(Some(NAME), ROOT, interface, "Open", &body)
        };
        self.runtime.block_on(async {
            tokio::select! {
                answer = call() => refused(answer.expect_err("one was to be refused")),
                answer = call() => refused(answer.expect_err("one was to be refused")),
            }
        })
    }

    /// The number in the next signal of the service that carries one. `ready` is told when it is listened for.
    pub fn next_number(&self, interface: &str, signal: &str, ready: &mpsc::Sender<()>) -> u64 {
        use futures_util::StreamExt as _;
        self.runtime.block_on(async {
            let interface = format!("{NAME}.{interface}");
            let service = zbus::proxy::Proxy::new(&self.connection, NAME, ROOT, interface).await.unwrap();
            let mut signals = service.receive_signal(signal).await.unwrap();
            ready.send(()).unwrap();
            let signal = tokio::time::timeout(super::PATIENCE, signals.next()).await;
            signal.expect("no signal came").unwrap().body().deserialize().unwrap()
        })
    }

    /// `Recordings.Seal`; the id.
    pub fn seal(&self, file: File, metadata: &Keys) -> Result<String, Refused> {
        let body = (OwnedFd::from(std::os::fd::OwnedFd::from(file)), metadata);
        let (id, _entry): (String, u64) = self.ask(ROOT, "Recordings", "Seal", &body)?;
        Ok(id)
    }

    /// `Recordings.Search`, first page.
    pub fn search(&self, filter: &Keys) -> Result<Vec<Fields>, Refused> {
        let (rows, _next): (Vec<Fields>, String) =
            self.ask(ROOT, "Recordings", "Search", &(filter, 1000_u32, ""))?;
        Ok(rows)
    }

    /// `Manager.Status`.
    pub fn status(&self) -> Result<Fields, Refused> {
        self.ask(ROOT, "Manager", "Status", &())
    }

    /// `Recordings.Seal` of the same file several times, all sent before the first answer.
    pub fn seal_at_once(&self, file: &File, source: &str, times: usize) -> Vec<Result<(), Refused>> {
        let one = |file: File| {
            let connection = self.connection.clone();
            let body = (OwnedFd::from(std::os::fd::OwnedFd::from(file)), keys(&[("source", source)]));
            async move {
                let interface = format!("{NAME}.Recordings");
                let call = connection.call_method(Some(NAME), ROOT, Some(interface), "Seal", &body);
                call.await.map(|_| ()).map_err(refused)
            }
        };
        let all = async {
            let calls: Vec<_> = (0..times).map(|_| tokio::spawn(one(file.try_clone().unwrap()))).collect();
            let mut answers = Vec::new();
            for call in calls {
                answers.push(call.await.unwrap());
            }
            answers
        };
        self.runtime.block_on(all)
    }
}

/// A failed call as a refusal.
pub fn refused(error: zbus::Error) -> Refused {
    match error {
        zbus::Error::MethodError(name, sentence, _) => {
            let name = name.as_str();
            let name = name.strip_prefix("org.greffier.Archive1.Error.").unwrap_or(name).to_owned();
            Refused { name, sentence: sentence.unwrap_or_default() }
        }
        other => Refused { name: "no-answer".into(), sentence: other.to_string() },
    }
}
