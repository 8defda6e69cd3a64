//! A hub for tests: the addresses, redirects, headers and faults of a real one, on two ports of this machine. The first is the hub,
//! the second the other host on which it keeps large files.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// Commit of every repository that says no other.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A repository.
#[derive(Clone, Debug)]
pub(crate) struct Repo {
    /// `owner/name`, or `datasets/owner/name`.
    pub(crate) id: String,
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, Content>,
    /// Names that the listing holds although there are no such files.
    pub(crate) listed_only: Vec<String>,
}

/// A file. Large ones lie on the other host.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Small(Vec<u8>),
    Large(Vec<u8>),
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Small(bytes) | Self::Large(bytes) => bytes,
        }
    }

    pub(crate) fn hash(&self) -> String {
        match self {
            Self::Small(bytes) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {}\0", bytes.len()).as_bytes());
                context.update(bytes);
                hexadecimal(context.finish().as_ref())
            }
            Self::Large(bytes) => hexadecimal(ring::digest::digest(&SHA256, bytes).as_ref()),
        }
    }
}

impl Repo {
    pub(crate) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), commit: COMMIT.to_owned(), files: BTreeMap::new(), listed_only: Vec::new() }
    }

    pub(crate) fn small(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.to_owned(), Content::Small(bytes.into()));
        self
    }

    pub(crate) fn large(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.to_owned(), Content::Large(bytes.into()));
        self
    }

    fn api(&self) -> String {
        let path = if self.id.starts_with("datasets/") { self.id.clone() } else { format!("models/{}", self.id) };
        format!("/api/{path}/revision/")
    }

    fn listing(&self) -> String {
        let names = self.files.keys().chain(&self.listed_only);
        let siblings: Vec<String> = names.map(|name| format!("{{\"rfilename\": {name:?}}}")).collect();
        format!("{{\"sha\": \"{}\", \"private\": false, \"siblings\": [{}]}}", self.commit, siblings.join(", "))
    }
}

/// Something that goes wrong with one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers with this status and headers.
    Status(u16, &'static str),
    /// Ends the body after so many bytes.
    Cut(usize),
    /// Changes the last byte.
    Corrupt,
    /// Sends everything, whatever was asked for.
    IgnoreRange,
    /// Says that it sends another part.
    OtherRange,
    /// Sends a byte more than announced.
    Longer,
    /// Says that the part does not exist.
    NoSuchRange,
    /// Sends everything, whatever was asked for, and ends the body after so many bytes.
    CutAnew(usize),
    /// Sends a byte and waits so long, again and again.
    Drip(Duration),
}

/// A request that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Whether the other host got it.
    pub(crate) elsewhere: bool,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) range: Option<String>,
}

#[derive(Default)]
struct State {
    repos: Vec<Repo>,
    /// Method and part of the path, and what goes wrong with the next such request.
    faults: Vec<(&'static str, String, Fault)>,
    requests: Vec<Request>,
    /// Token without which nothing is shown.
    token: Option<String>,
}

/// A running hub; it ends with the process.
#[derive(Clone)]
pub(crate) struct Server {
    hub: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start(repos: Vec<Repo>) -> Self {
        let state = Arc::new(Mutex::new(State { repos, ..State::default() }));
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, elsewhere) = (bind(), bind());
        let server = Self { hub: hub.local_addr().unwrap(), state };
        let other = elsewhere.local_addr().unwrap();
        for (listener, is_elsewhere) in [(hub, false), (elsewhere, true)] {
            let server = server.clone();
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let server = server.clone();
                    // A client that goes away is no fault of the server.
                    thread::spawn(move || server.answer(stream, is_elsewhere, other));
                }
            });
        }
        server
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// The next `method` request whose path holds `path` goes wrong.
    pub(crate) fn fault(&self, method: &'static str, path: &str, fault: Fault) {
        self.state.lock().unwrap().faults.push((method, path.to_owned(), fault));
    }

    /// From now on nothing is shown without this token.
    pub(crate) fn require(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Vec<Repo>)) {
        change(&mut self.state.lock().unwrap().repos);
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    fn answer(&self, stream: TcpStream, elsewhere: bool, other: SocketAddr) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
        let first = lines.next()?;
        let mut words = first.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (mut token, mut range) = (None, None);
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ")?;
            match name.to_ascii_lowercase().as_str() {
                "authorization" => token = value.strip_prefix("Bearer ").map(str::to_owned),
                "range" => range = Some(value.to_owned()),
                _ => {}
            }
        }
        let request = Request { elsewhere, method, path, token, range };
        let (fault, answer) = {
            let mut state = self.state.lock().unwrap();
            state.requests.push(request.clone());
            let hit = |(method, path, _): &(&str, String, Fault)| {
                *method == request.method && request.path.contains(path.as_str())
            };
            let fault = state.faults.iter().position(hit).map(|index| state.faults.remove(index).2);
            (fault, state.find(&request, other))
        };
        send(stream, &request, answer, fault.as_ref())
    }
}

/// Status, headers with an end of line each, body.
type Answer = (u16, String, Vec<u8>);

impl State {
    fn find(&self, request: &Request, other: SocketAddr) -> Answer {
        let path = request.path.split('?').next().unwrap_or_default();
        if request.elsewhere {
            let mut files = self.repos.iter().flat_map(|repo| repo.files.values());
            return match files.find(|file| path.ends_with(&file.hash())) {
                Some(file) => (200, "ETag: \"of-another-kind-3\"\r\n".into(), file.bytes().to_vec()),
                None => (404, String::new(), Vec::new()),
            };
        }
        if self.token.is_some() && self.token != request.token {
            return (401, "X-Error-Message: Invalid credentials\r\n".into(), Vec::new());
        }
        let missing = |code: &str| (404, format!("X-Error-Code: {code}\r\n"), Vec::new());
        for repo in &self.repos {
            if let Some(revision) = path.strip_prefix(&repo.api()) {
                if ["main", "v1", "refs%2Fpr%2F1", "refs%2Fconvert%2Fparquet"].contains(&revision)
                    || revision == repo.commit
                {
                    return (200, String::new(), repo.listing().into_bytes());
                }
                return missing("RevisionNotFound");
            }
            if let Some(rest) = path.strip_prefix(&format!("/{}/resolve/", repo.id)) {
                let Some((revision, name)) = rest.split_once('/') else { continue };
                let Some(file) = repo.files.get(&unescaped(name)).filter(|_| revision == repo.commit) else {
                    return missing("EntryNotFound");
                };
                let hash = file.hash();
                let size = file.bytes().len();
                let mut headers = format!("X-Repo-Commit: {}\r\n", repo.commit);
                let _ = match file {
                    Content::Large(_) => write!(
                        headers,
                        "X-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {size}\r\nLocation: http://{other}/blobs/{hash}?X-Signature=secret\r\n"
                    ),
                    Content::Small(_) => {
                        write!(headers, "Location: /api/resolve-cache/{}/{name}?etag={hash}\r\n", repo.id)
                    }
                };
                return (if matches!(file, Content::Large(_)) { 302 } else { 307 }, headers, b"Found".to_vec());
            }
            if let Some(name) = path.strip_prefix(&format!("/api/resolve-cache/{}/", repo.id)) {
                return match repo.files.get(&unescaped(name)) {
                    Some(file) => (200, format!("ETag: \"{}\"\r\n", file.hash()), file.bytes().to_vec()),
                    None => missing("EntryNotFound"),
                };
            }
        }
        missing("RepoNotFound")
    }
}

fn send(mut stream: TcpStream, request: &Request, answer: Answer, fault: Option<&Fault>) -> Option<()> {
    let (mut status, mut headers, mut body) = answer;
    let whole = body.len();
    match fault {
        Some(Fault::Status(code, text)) => (status, headers, body) = (*code, (*text).to_owned(), b"oh".to_vec()),
        Some(Fault::Corrupt) => *body.last_mut()? ^= 1,
        Some(Fault::NoSuchRange) => (status, headers, body) = (416, String::new(), Vec::new()),
        _ => {}
    }
    let from = request.range.as_ref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    if let (200, Some(from), false) = (status, from, matches!(fault, Some(Fault::IgnoreRange | Fault::CutAnew(_)))) {
        let told: usize = if matches!(fault, Some(Fault::OtherRange)) { from - 1 } else { from };
        let _ = write!(headers, "Content-Range: bytes {told}-{}/{whole}\r\n", whole - 1);
        (status, body) = (206, body.split_off(from));
    }
    if matches!(fault, Some(Fault::Longer)) {
        body.push(b'!');
    }
    let length = body.len();
    let head = format!("HTTP/1.1 {status} OK\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    if request.method == "GET" {
        if let Some(Fault::Drip(pause)) = fault {
            for byte in body {
                stream.write_all(&[byte]).and_then(|()| stream.flush()).ok()?;
                thread::sleep(*pause);
            }
            return Some(());
        }
        let end =
            if let Some(Fault::Cut(count) | Fault::CutAnew(count)) = fault { (*count).min(length) } else { length };
        stream.write_all(&body[..end]).ok()?;
    }
    stream.flush().ok()
}

/// The only escape that these tests need.
fn unescaped(name: &str) -> String {
    name.replace("%20", " ")
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
