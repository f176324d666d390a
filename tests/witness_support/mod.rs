//! A witness of C2SP tlog-witness over loopback, written from the specification as the opposite party: it shares no code
//! of the protocol with ours, and takes consistency proofs only if another implementation confirms them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "helpers of tests may panic: that is how a test fails"
)]
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use ct_merkle::{ConsistencyProof, RootHash};
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest as _, Sha256};

/// The certificate of a witness over TLS, for 127.0.0.1, signed by itself; its private key is `TLS_KEY`.
pub const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/witness_support/certificate.pem");
/// Ed25519 in PKCS #8: these bytes, then 32 times 42.
const TLS_KEY: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// How a witness behaves.
#[derive(Clone, Debug)]
pub enum Conduct {
    /// As the specification says.
    Honest,
    /// Signs with another key under its own name and key id.
    Forges,
    /// Signs properly, but with a key that nobody knows.
    Stranger,
    /// Signs another text.
    OtherText,
    /// Bears no time.
    NoTime,
    /// Answers with this status, content type and body.
    Says(u16, &'static str, Vec<u8>),
    /// Sends these bytes instead of HTTP.
    Raw(Vec<u8>),
    /// Sends a body without end.
    Endless,
    /// Takes the request and says nothing.
    Silent,
    /// Sends one byte now and then, for ever.
    Drips,
}

/// What a witness has seen of one ledger.
#[derive(Debug, Default)]
pub struct Seen {
    pub size: u64,
    pub root: [u8; 32],
    /// The old sizes of all requests, in order.
    pub asked: Vec<u64>,
    /// The last body.
    pub body: String,
}

/// A running witness.
pub struct Witness {
    pub name: String,
    pub vkey: String,
    pub url: String,
    pub seen: Arc<Mutex<Seen>>,
    conduct: Arc<Mutex<Conduct>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Desk {
    name: String,
    key: SigningKey,
    id: [u8; 4],
    log: LogKey,
    seen: Arc<Mutex<Seen>>,
    conduct: Arc<Mutex<Conduct>>,
    end: Arc<AtomicBool>,
}

/// The log that the witness knows: name, key id, public key.
#[derive(Clone)]
struct LogKey(String, [u8; 4], VerifyingKey);

fn key_id(name: &str, kind: u8, public: &[u8]) -> [u8; 4] {
    let digest = Sha256::digest([name.as_bytes(), &[b'\n', kind], public].concat());
    digest[..4].try_into().unwrap()
}

impl Witness {
    /// Starts a witness that knows the log of this vkey. Its key is made of its name.
    pub fn start(name: &str, log_vkey: &str) -> Self {
        Self::start_with(name, log_vkey, None)
    }

    /// The same, reached by https.
    pub fn start_tls(name: &str, log_vkey: &str) -> Self {
        let certificate = CertificateDer::from_pem_file(CERTIFICATE).unwrap();
        let key = PrivatePkcs8KeyDer::from([TLS_KEY.as_slice(), &[42; 32]].concat());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config =
            config.with_no_client_auth().with_single_cert(vec![certificate], PrivateKeyDer::from(key));
        Self::start_with(name, log_vkey, Some(Arc::new(config.unwrap())))
    }

    fn start_with(name: &str, log_vkey: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let key = SigningKey::from_bytes(&Sha256::digest(name).into());
        let public = key.verifying_key();
        let id = key_id(name, 4, public.as_bytes());
        let vkey = format!(
            "{name}+{}+{}",
            HEXLOWER.encode(&id),
            BASE64.encode(&[&[4], public.as_bytes().as_slice()].concat())
        );
        let (origin, rest) = log_vkey.split_once('+').unwrap();
        let (log_id, log_key) = rest.split_once('+').unwrap();
        let log_key = BASE64.decode(log_key.as_bytes()).unwrap();
        let log = LogKey(
            origin.to_owned(),
            HEXLOWER.decode(log_id.as_bytes()).unwrap().try_into().unwrap(),
            VerifyingKey::from_bytes(log_key[1..].try_into().unwrap()).unwrap(),
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/w/{name}", listener.local_addr().unwrap());
        let (seen, conduct) = (Arc::default(), Arc::new(Mutex::new(Conduct::Honest)));
        let end = Arc::new(AtomicBool::new(false));
        let desk = Desk {
            name: name.to_owned(),
            key,
            id,
            log,
            seen: Arc::clone(&seen),
            conduct: Arc::clone(&conduct),
            end: Arc::clone(&end),
        };
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if desk.end.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                // A client that goes away in the middle is its own affair.
                let _gone = match &tls {
                    None => desk.serve(stream),
                    Some(config) => {
                        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                        desk.serve(StreamOwned::new(connection, stream))
                    }
                };
            }
        });
        Self { name: name.to_owned(), vkey, url, seen, conduct, end, thread: Some(thread) }
    }

    /// From the next request on.
    pub fn behaves(&self, conduct: Conduct) {
        *self.conduct.lock().unwrap() = conduct;
    }

    /// The old sizes of the requests since the last call.
    pub fn asked(&self) -> Vec<u64> {
        std::mem::take(&mut self.seen.lock().unwrap().asked)
    }

    /// Its line in a policy.
    pub fn policy_line(&self) -> String {
        format!("witness {} {} {}\n", self.name, self.vkey, self.url)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        let address = self.url.split('/').nth(2).unwrap();
        let _wakes_it = TcpStream::connect(address);
        let _ended = self.thread.take().unwrap().join();
    }
}

/// One request: its path and body.
fn request(stream: &mut impl Read) -> std::io::Result<(String, String)> {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let first = head.lines().next().unwrap().to_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body)?;
    Ok((first, String::from_utf8(body).unwrap()))
}

fn respond(stream: &mut impl Write, status: u16, media: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: {media}\r\nContent-Length: {length}\r\nConnection: close\r\nLocation: http://127.0.0.1:9/\r\n\r\n"
    )?;
    stream.write_all(body)?;
    stream.flush()
}

fn pause(time: Duration) {
    let (_nobody_sends, end) = mpsc::channel::<()>();
    let _timeout = end.recv_timeout(time);
}

impl Desk {
    fn serve(&self, mut stream: impl Read + Write) -> std::io::Result<()> {
        let (first, body) = request(&mut stream)?;
        let conduct = self.conduct.lock().unwrap().clone();
        match conduct {
            Conduct::Says(status, media, body) => return respond(&mut stream, status, media, &body),
            Conduct::Raw(bytes) => return stream.write_all(&bytes),
            Conduct::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                loop {
                    stream.write_all(&[b'x'; 8192])?;
                }
            }
            Conduct::Silent => {
                let mut byte = [0];
                // Until the client gives up.
                return stream.read(&mut byte).map(|_| ());
            }
            Conduct::Drips => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
                while !self.end.load(Ordering::SeqCst) {
                    pause(Duration::from_millis(100));
                    stream.write_all(b"x")?;
                }
                return Ok(());
            }
            _ => {}
        }
        if first != format!("POST /w/{}/add-checkpoint HTTP/1.1", self.name) {
            return respond(&mut stream, 404, "text/plain", first.as_bytes());
        }
        let (status, media, answer) = self.add_checkpoint(&body, &conduct);
        respond(&mut stream, status, media, answer.as_bytes())
    }

    /// The rules of tlog-witness, one after the other.
    fn add_checkpoint(&self, body: &str, conduct: &Conduct) -> (u16, &'static str, String) {
        let refuse = |status: u16| (status, "text/plain", String::new());
        let mut seen = self.seen.lock().unwrap();
        seen.body = body.to_owned();
        let (head, checkpoint) = body.split_once("\n\n").unwrap();
        let mut lines = head.split('\n');
        let old = lines.next().unwrap().strip_prefix("old ").unwrap();
        if old != "0" && old.starts_with('0') {
            return refuse(400);
        }
        let old: u64 = old.parse().unwrap();
        seen.asked.push(old);
        let proof: Vec<Vec<u8>> = lines.map(|line| BASE64.decode(line.as_bytes()).unwrap()).collect();
        assert!(proof.len() <= 63 && proof.iter().all(|hash| hash.len() == 32));

        let (text, signatures) = checkpoint.rsplit_once("\n\n").unwrap();
        let text = format!("{text}\n");
        let parts: Vec<&str> = text.split('\n').collect();
        let LogKey(origin, id, key) = &self.log;
        if parts[0] != origin {
            return refuse(404);
        }
        let mut signed = false;
        for line in signatures.lines() {
            let (name, base64) = line.strip_prefix("\u{2014} ").unwrap().split_once(' ').unwrap();
            let bytes = BASE64.decode(base64.as_bytes()).unwrap();
            if name == origin && bytes[..4] == *id {
                let signature = Signature::from_slice(&bytes[4..]).unwrap();
                if key.verify_strict(text.as_bytes(), &signature).is_err() {
                    return refuse(403);
                }
                signed = true;
            }
        }
        if !signed {
            return refuse(403);
        }
        let size: u64 = parts[1].parse().unwrap();
        let root: [u8; 32] = BASE64.decode(parts[2].as_bytes()).unwrap().try_into().unwrap();
        if old > size {
            return refuse(400);
        }
        if old != seen.size {
            return (409, "text/x.tlog.size", format!("{}\n", seen.size));
        }
        let consistent = if old == 0 {
            proof.is_empty()
        } else if old == size {
            proof.is_empty() && root == seen.root
        } else {
            let proof = ConsistencyProof::<Sha256>::try_from_bytes(proof.concat());
            let (new, before) =
                (RootHash::<Sha256>::new(root.into(), size), RootHash::new(seen.root.into(), old));
            proof.is_ok_and(|proof| new.verify_consistency(&before, &proof).is_ok())
        };
        if !consistent {
            return refuse(422);
        }
        (seen.size, seen.root) = (size, root);
        (200, "text/plain", self.answer(&text, conduct))
    }

    fn answer(&self, text: &str, conduct: &Conduct) -> String {
        let stranger = SigningKey::from_bytes(&[77; 32]);
        let time: u64 = if matches!(conduct, Conduct::NoTime) { 0 } else { 1_800_000_000 };
        let text = if matches!(conduct, Conduct::OtherText) { "another\n1\nAAAA\n" } else { text };
        let line = |name: &str, id: [u8; 4], key: &SigningKey| {
            let signature = key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes()).to_bytes();
            let bytes = [&id[..], &time.to_be_bytes(), &signature].concat();
            format!("\u{2014} {name} {}\n", BASE64.encode(&bytes))
        };
        let unknown =
            line("else.example", key_id("else.example", 4, stranger.verifying_key().as_bytes()), &stranger);
        match conduct {
            Conduct::Forges => line(&self.name, self.id, &stranger),
            Conduct::Stranger => unknown,
            // A second line, of a key that the client does not know: it must ignore it.
            _ => unknown + &line(&self.name, self.id, &self.key),
        }
    }
}
