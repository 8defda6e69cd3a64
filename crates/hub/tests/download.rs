//! Downloads from a hub that behaves, and from one that does not.

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hint::Hint;
use hub::{Client, Event, HubError, Kind, Pace, Repository, Retry, Settings, Token};
use tempfile::TempDir;

use server::{COMMIT, Content, Fault, Repo, Server};

struct Desk {
    folder: TempDir,
    server: Server,
    repository: Repository,
}

/// Bytes that do not repeat soon.
fn large() -> Vec<u8> {
    (0..300_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

impl Desk {
    fn new() -> Self {
        let repo = Repo::new("test/model").small("config.json", "{}\n").large("model.safetensors", large());
        Self::with(repo)
    }

    fn with(repo: Repo) -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            repository: Repository::new(Kind::Model, &repo.id).unwrap(),
            server: Server::start(vec![repo]),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            endpoint: self.server.endpoint(),
            cache: self.folder.path().join("hub"),
            token: None,
            offline: false,
            certificates: None,
            retry: Retry { attempts: 3, first: Duration::from_millis(1), longest: Duration::from_millis(50) },
            pace: Pace { window: Duration::from_millis(200), bytes: 1000, silence: Duration::from_millis(500) },
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.settings())
    }

    fn fetch(&self, files: &[&str]) -> Result<PathBuf, HubError> {
        self.client().fetch(&self.repository, COMMIT, files, &mut |_| {})
    }

    fn blobs(&self) -> Vec<String> {
        let folder = self.folder.path().join("hub/models--test--model/blobs");
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn incomplete(&self) -> PathBuf {
        let name = format!("hub/models--test--model/blobs/{}.incomplete", Content::Large(large()).hash());
        self.folder.path().join(name)
    }

    /// Nothing that was not verified can be seen under its name.
    fn assert_nothing_visible(&self) {
        assert_eq!(self.client().cache().file(&self.repository, COMMIT, "model.safetensors").unwrap(), None);
        assert!(self.blobs().iter().all(|name| name.ends_with(".incomplete")), "{:?}", self.blobs());
    }

    /// The error as users read it, without this machine's ports and folders.
    fn shown(&self, error: &HubError) -> String {
        let folder = self.folder.path().display().to_string();
        let mut text = format!("{error}\nhint: {}", error.hint().unwrap()).replace(&folder, "FOLDER");
        text = text.replace(&self.server.endpoint(), "HUB").replace(&self.server.endpoint()["http://".len()..], "HUB");
        text
    }
}

const WEIGHTS: &str = "model.safetensors";

#[test]
fn files_land_where_the_hubs_own_tools_look() {
    let desk = Desk::new();
    let client = desk.client();
    let listing = client.list(&desk.repository, "main", &mut |_| {}).unwrap();
    assert_eq!((listing.commit.as_str(), listing.files), (COMMIT, vec!["config.json".into(), WEIGHTS.into()]));
    let mut events = Vec::new();
    let mut report = |event: Event<'_>| events.push(format!("{event:?}"));
    let snapshot = client.fetch(&desk.repository, COMMIT, &["config.json", WEIGHTS], &mut report).unwrap();
    client.pin(&desk.repository, "main", COMMIT).unwrap();
    let root = desk.folder.path().join("hub/models--test--model");
    assert_eq!(snapshot, root.join("snapshots").join(COMMIT));
    assert_eq!(fs::read(snapshot.join(WEIGHTS)).unwrap(), large());
    assert_eq!(fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    let target = fs::read_link(snapshot.join(WEIGHTS)).unwrap();
    assert_eq!(target, Path::new("../../blobs").join(Content::Large(large()).hash()));
    assert_eq!(desk.blobs().len(), 2);
    assert_eq!(events.first().unwrap(), "Begin { files: 2, bytes: 300003 }");
    assert!(events.iter().any(|event| event == "Done { file: \"model.safetensors\", size: 300000 }"), "{events:?}");
    // The second time nothing is asked.
    desk.server.requests();
    desk.fetch(&["config.json", WEIGHTS]).unwrap();
    assert_eq!(desk.server.requests(), []);
}

#[test]
fn data_sets_and_names_that_need_escapes_have_addresses_of_their_own() {
    let repo = Repo::new("datasets/test/data").small("a b.txt", "x").small("deep/er/c.txt", "y");
    let server = Server::start(vec![repo]);
    let desk = Desk { server, ..Desk::new() };
    let data = Repository::new(Kind::Dataset, "test/data").unwrap();
    let client = desk.client();
    assert_eq!(client.list(&data, "refs/pr/1", &mut |_| {}).unwrap().commit, COMMIT);
    let snapshot = client.fetch(&data, COMMIT, &["a b.txt", "deep/er/c.txt"], &mut |_| {}).unwrap();
    assert_eq!(fs::read_to_string(snapshot.join("deep/er/c.txt")).unwrap(), "y");
    let paths: Vec<String> = desk.server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths[0], "/api/datasets/test/data/revision/refs%2Fpr%2F1");
    assert!(paths.contains(&format!("/datasets/test/data/resolve/{COMMIT}/a%20b.txt")), "{paths:?}");
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let desk = Desk::new();
    desk.server.require("hf_secret");
    let client = Client::new(&Settings { token: Token::new("hf_secret"), ..desk.settings() });
    client.list(&desk.repository, "main", &mut |_| {}).unwrap();
    client.fetch(&desk.repository, COMMIT, &["config.json", WEIGHTS], &mut |_| {}).unwrap();
    let requests = desk.server.requests();
    assert!(requests.iter().any(|request| request.elsewhere && request.path.starts_with("/blobs/")));
    for request in requests {
        assert_eq!(request.token.is_some(), !request.elsewhere, "{request:?}");
    }
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let desk = Desk::new();
    desk.server.fault("GET", "/blobs/", Fault::Cut(100_000));
    desk.server.fault("GET", "/blobs/", Fault::Cut(50_000));
    let snapshot = desk.fetch(&[WEIGHTS]).unwrap();
    assert_eq!(fs::read(snapshot.join(WEIGHTS)).unwrap(), large());
    let ranges: Vec<_> =
        desk.server.requests().into_iter().filter(|r| r.elsewhere).map(|request| request.range).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".into()), Some("bytes=150000-".into())]);
}

#[test]
fn a_later_process_goes_on_where_an_earlier_one_stopped() {
    let desk = Desk::new();
    for _ in 0..3 {
        desk.server.fault("GET", "/blobs/", Fault::Cut(10_000));
    }
    let error = desk.fetch(&[WEIGHTS]).unwrap_err();
    insta::assert_snapshot!(desk.shown(&error), @"
        test/model: model.safetensors ends after 30000 of 300000 bytes, also when tried again
        hint: try again: the download goes on where it stopped
    ");
    desk.assert_nothing_visible();
    desk.server.requests();
    let snapshot = desk.fetch(&[WEIGHTS]).unwrap();
    assert_eq!(fs::read(snapshot.join(WEIGHTS)).unwrap(), large());
    let ranges: Vec<_> = desk.server.requests().into_iter().filter_map(|request| request.range).collect();
    // Once to the hub, once to where it redirects.
    assert_eq!(ranges, ["bytes=30000-", "bytes=30000-"]);
}

#[test]
fn servers_that_cannot_go_on_begin_anew() {
    for fault in [Fault::IgnoreRange, Fault::OtherRange, Fault::NoSuchRange] {
        let desk = Desk::new();
        fs::create_dir_all(desk.incomplete().parent().unwrap()).unwrap();
        fs::write(desk.incomplete(), &large()[..1234]).unwrap();
        desk.server.fault("GET", "/blobs/", fault.clone());
        let snapshot = desk.fetch(&[WEIGHTS]).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(fs::read(snapshot.join(WEIGHTS)).unwrap(), large(), "{fault:?}");
    }
}

#[test]
fn what_is_left_of_something_else_is_found_out_and_downloaded_again() {
    let desk = Desk::new();
    fs::create_dir_all(desk.incomplete().parent().unwrap()).unwrap();
    for left in [vec![7; 1234], vec![7; 300_000], vec![7; 300_001]] {
        fs::write(desk.incomplete(), left).unwrap();
        let snapshot = desk.fetch(&[WEIGHTS]).unwrap();
        assert_eq!(fs::read(snapshot.join(WEIGHTS)).unwrap(), large());
        fs::remove_dir_all(desk.folder.path().join("hub/models--test--model/snapshots")).unwrap();
        fs::remove_file(desk.incomplete().with_extension("")).unwrap();
    }
}

#[test]
fn wrong_bytes_are_removed() {
    let desk = Desk::new();
    desk.server.fault("GET", "/blobs/", Fault::Corrupt);
    let error = desk.fetch(&[WEIGHTS]).unwrap_err();
    insta::assert_snapshot!(desk.shown(&error), @"
        test/model: model.safetensors has hash da057b77144569dd3af749833e1dcd4233bbcf3a72fa8209f4e879cc2bb25863, the hub announced 136f334d647619879743ff33fde1ac6547f40e314692441f2a125e087cad47c9; it was removed
        hint: try again; if it comes back, something between here and the hub changes files (a proxy, a mirror)
    ");
    desk.assert_nothing_visible();
    assert!(!desk.incomplete().exists());
    // The hash of small files is that of git.
    desk.server.fault("GET", "/resolve-cache/", Fault::Corrupt);
    assert!(matches!(desk.fetch(&["config.json"]).unwrap_err(), HubError::WrongHash { .. }));
    assert!(desk.fetch(&["config.json", WEIGHTS]).is_ok());
}

#[test]
fn a_file_that_is_longer_than_announced_is_refused() {
    let desk = Desk::new();
    desk.server.fault("GET", "/blobs/", Fault::Longer);
    let error = desk.fetch(&[WEIGHTS]).unwrap_err();
    assert!(error.to_string().ends_with("more than the 300000 bytes that were announced"), "{error}");
    desk.assert_nothing_visible();
}

/// A body that brings a byte now and then would never end. It is given up, asked for again where it stopped, and then an error.
#[test]
fn a_server_that_drips_is_not_waited_for() {
    let drip = || Fault::Drip(Duration::from_millis(20));
    let desk = Desk::new();
    let started = std::time::Instant::now();
    for _ in 0..2 {
        desk.server.fault("GET", "/blobs/", drip());
        desk.server.fault("GET", "/api/models", drip());
    }
    desk.client().list(&desk.repository, "main", &mut |_| {}).unwrap();
    let snapshot = desk.fetch(&[WEIGHTS]).unwrap();
    assert_eq!(fs::read(snapshot.join(WEIGHTS)).unwrap(), large(), "what dripped is the beginning");
    let desk = Desk::new();
    for _ in 0..3 {
        desk.server.fault("GET", "/blobs/", drip());
        desk.server.fault("GET", "/api/models", drip());
    }
    insta::assert_snapshot!(desk.shown(&desk.client().list(&desk.repository, "main", &mut |_| {}).unwrap_err()), @"
        HUB/api/models/test/model/revision/main: the answer does not get on (less than 1000 bytes in 0.2 s), also when tried again
        hint: look at the network and at HF_ENDPOINT; try again later, the download goes on where it stopped
    ");
    let error = desk.fetch(&[WEIGHTS]).unwrap_err();
    assert!(matches!(error, HubError::Stalled { .. }), "{error}");
    desk.assert_nothing_visible();
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

/// No answer at all, and none any more in the middle.
#[test]
fn a_server_that_falls_silent_is_not_waited_for() {
    let desk = Desk::new();
    for _ in 0..3 {
        desk.server.fault("GET", "/blobs/", Fault::Drip(Duration::from_secs(30)));
    }
    let started = std::time::Instant::now();
    let error = desk.fetch(&[WEIGHTS]).unwrap_err();
    assert!(error.to_string().contains("(nothing in 0.5 s)"), "{error}");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings { endpoint: format!("http://{}", silent.local_addr().unwrap()), ..desk.settings() };
    let error = Client::new(&settings).list(&desk.repository, "main", &mut |_| {}).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

/// Each time more than enough arrives to count as getting on, and each time it is the same.
#[test]
fn a_server_that_always_begins_anew_and_breaks_off_is_given_up() {
    let bytes: Vec<u8> = large().into_iter().cycle().take(3 << 20).collect();
    let desk = Desk::with(Repo::new("test/model").large(WEIGHTS, bytes));
    for _ in 0..50 {
        desk.server.fault("GET", "/blobs/", Fault::CutAnew(2 << 20));
    }
    let error = desk.fetch(&[WEIGHTS]).unwrap_err();
    assert!(matches!(error, HubError::Truncated { got, .. } if got == 2 << 20), "{error}");
    let asked = desk.server.requests().into_iter().filter(|request| request.elsewhere).count();
    assert!(asked < 6, "{asked} requests");
}

/// What somebody, or a disk, did to a file of the cache is seen before it is used, at the price of one reading.
#[test]
fn a_damaged_blob_is_refused_and_downloaded_again() {
    for damage in [|bytes: &mut Vec<u8>| bytes[7] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(70)] {
        for name in [WEIGHTS, "config.json"] {
            let repo = Repo::new("test/model").small("config.json", "x".repeat(100)).large(WEIGHTS, large());
            let desk = Desk::with(repo);
            let path = desk.fetch(&[WEIGHTS, "config.json"]).unwrap().join(name);
            let whole = fs::read(&path).unwrap();
            let mut bytes = whole.clone();
            damage(&mut bytes);
            fs::write(&path, bytes).unwrap();
            let cache = desk.client().cache().clone();
            for _ in 0..2 {
                let error = cache.file(&desk.repository, COMMIT, name).unwrap_err();
                assert!(matches!(error, HubError::Damaged { .. }), "{error}");
            }
            let offline = Client::new(&Settings { offline: true, ..desk.settings() });
            let error = offline.fetch(&desk.repository, COMMIT, &[name], &mut |_| {}).unwrap_err();
            if name == "config.json" && path.metadata().unwrap().len() == 70 {
                insta::assert_snapshot!(desk.shown(&error), @"
                    config.json of test/model is damaged: FOLDER/hub/models--test--model/blobs/f6be7cae2045aac11912ea642bf7f9d5d261f63b has hash 4b2d8ce968a09c8ec214350bd003c028ca834441
                    hint: `sweep fetch` downloads it again, in its place; without a network, bring the file from another cache
                ");
            }
            let mut told = Vec::new();
            let mut report = |event: Event<'_>| told.extend(matches!(event, Event::Damaged { .. }).then_some(()));
            desk.client().fetch(&desk.repository, COMMIT, &[name], &mut report).unwrap();
            assert_eq!((fs::read(&path).unwrap(), told.len()), (whole, 1));
            assert_eq!(cache.file(&desk.repository, COMMIT, name).unwrap().as_ref(), Some(&path));
        }
    }
}

/// What other tools downloaded is compared once, and again when it changes. The note lies where the hub's own tools do not look.
#[test]
fn a_blob_that_was_compared_is_not_read_again() {
    let desk = Desk::new();
    let path = desk.fetch(&[WEIGHTS]).unwrap().join(WEIGHTS);
    let note = desk.folder.path().join("hub/models--test--model/.verified").join(Content::Large(large()).hash());
    let of_download = fs::read_to_string(&note).unwrap();
    fs::remove_file(&note).unwrap();
    // As the other process that found it: this one remembers.
    let blob = fs::canonicalize(&path).unwrap();
    let touch = |seconds| {
        fs::File::open(&blob).unwrap().set_modified(std::time::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    touch(5);
    let cache = desk.client().cache().clone();
    cache.file(&desk.repository, COMMIT, WEIGHTS).unwrap().unwrap();
    let compared = fs::read_to_string(&note).unwrap();
    assert!(compared.starts_with("size 300000 mtime 5."), "{compared}");
    assert_ne!(compared, of_download);
    // A note that says what the file is now is believed, which shows that it saves the reading.
    let mut bytes = large();
    bytes[0] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    assert!(cache.file(&desk.repository, COMMIT, WEIGHTS).is_err(), "the file changed since the note");
    fs::write(&blob, large()).unwrap();
    assert!(cache.file(&desk.repository, COMMIT, WEIGHTS).unwrap().is_some());
    // A copy in place of a link, as some systems have it, has no hash to be compared with.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "other").unwrap();
    assert_eq!(cache.file(&desk.repository, COMMIT, WEIGHTS).unwrap(), Some(path));
}

/// A cache that cannot be written serves those who need nothing new.
#[test]
fn nothing_is_written_where_everything_is_there() {
    let desk = Desk::new();
    let client = desk.client();
    client.fetch(&desk.repository, COMMIT, &[WEIGHTS], &mut |_| {}).unwrap();
    client.pin(&desk.repository, "main", COMMIT).unwrap();
    let root = desk.folder.path().join("hub/models--test--model");
    let before: Vec<_> = ["refs", "blobs", "snapshots", ".verified"]
        .map(|folder| fs::metadata(root.join(folder)).unwrap().modified().unwrap())
        .to_vec();
    let reference = fs::metadata(root.join("refs/main")).unwrap().modified().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    client.fetch(&desk.repository, COMMIT, &[WEIGHTS], &mut |_| {}).unwrap();
    client.pin(&desk.repository, "main", COMMIT).unwrap();
    let after: Vec<_> = ["refs", "blobs", "snapshots", ".verified"]
        .map(|folder| fs::metadata(root.join(folder)).unwrap().modified().unwrap())
        .to_vec();
    assert_eq!(after, before);
    assert_eq!(fs::metadata(root.join("refs/main")).unwrap().modified().unwrap(), reference);
    // No room for a note is no fault: the file is compared in every process.
    fs::remove_dir_all(root.join(".verified")).unwrap();
    fs::write(root.join(".verified"), "a file where a folder should be").unwrap();
    client.fetch(&desk.repository, COMMIT, &[WEIGHTS], &mut |_| {}).unwrap();
}

#[test]
fn trouble_that_passes_is_waited_for() {
    let desk = Desk::new();
    desk.server.fault("GET", "/api/models", Fault::Status(503, ""));
    desk.server.fault("GET", "/api/models", Fault::Status(429, "Retry-After: 0\r\n"));
    desk.server.fault("HEAD", WEIGHTS, Fault::Status(500, ""));
    desk.server.fault("GET", "/blobs/", Fault::Status(502, ""));
    desk.server.fault("GET", "/blobs/", Fault::Status(504, ""));
    let mut waits = Vec::new();
    let mut report = |event: Event<'_>| {
        if let Event::Waiting { why, .. } = event {
            waits.push(why);
        }
    };
    let client = desk.client();
    client.list(&desk.repository, "main", &mut report).unwrap();
    client.fetch(&desk.repository, COMMIT, &[WEIGHTS], &mut report).unwrap();
    assert_eq!(waits.len(), 5, "{waits:?}");
}

#[test]
fn trouble_that_stays_is_an_error_that_says_what_to_do() {
    let desk = Desk::new();
    let listed = |faults: &[(u16, &'static str)]| {
        for (status, headers) in faults {
            desk.server.fault("GET", "/api/models", Fault::Status(*status, headers));
        }
        desk.shown(&desk.client().list(&desk.repository, "main", &mut |_| {}).unwrap_err())
    };
    insta::assert_snapshot!(listed(&[(503, ""); 3]), @"
        HUB/api/models/test/model/revision/main answered with status 503
        hint: the hub has trouble; try again later, what is downloaded is kept
    ");
    insta::assert_snapshot!(listed(&[(429, "Retry-After: 3600\r\n")]), @"
        HUB refuses further requests for now, and asks to wait 3600 s
        hint: try again later; with HF_TOKEN the hub allows more
    ");
    insta::assert_snapshot!(listed(&[(401, "")]), @"
        the hub does not show test/model without a token: it does not exist, or is private
        hint: look the name up on the hub; if it is private, set HF_TOKEN to a token of yours
    ");
    insta::assert_snapshot!(listed(&[(403, "X-Error-Code: GatedRepo\r\nX-Error-Message: Access is restricted\r\n")]), @r#"
        test/model is not open to everybody, and the hub refuses it without a token: "Access is restricted"
        hint: accept the terms on the page of the repository, and set HF_TOKEN to a token of yours
    "#);
    insta::assert_snapshot!(listed(&[(302, "Location: ftp://x/y\r\n")]), @"
        HUB/api/models/test/model/revision/main: a redirect to something that is no web address
        hint: this is no hub, or one that speaks another language; look at HF_ENDPOINT
    ");
    insta::assert_snapshot!(listed(&[(418, "")]), @"
        HUB/api/models/test/model/revision/main answered with status 418
        hint: look at HF_ENDPOINT, if it is set
    ");
    let head = |fault: Fault| {
        desk.server.fault("HEAD", "/resolve/", fault);
        desk.shown(&desk.fetch(&[WEIGHTS]).unwrap_err())
    };
    insta::assert_snapshot!(head(Fault::Status(200, "ETag: \"d41d8cd98f00b204e9800998ecf8427e-3\"\r\n")), @"
        HUB/test/model/resolve/0123456789abcdef0123456789abcdef01234567/model.safetensors: no hash to verify the file by; its ETag is `d41d8cd98f00b204e9800998ecf8427e-3`
        hint: use the hub itself, or download the files into a folder and name that
    ");
    insta::assert_snapshot!(head(Fault::Status(302, "Location: https://x/y\r\nX-Linked-Etag: \"0123456789abcdef0123456789abcdef01234567\"\r\n")), @"
        HUB/test/model/resolve/0123456789abcdef0123456789abcdef01234567/model.safetensors: the size of the file is missing
        hint: this is no hub, or one that speaks another language; look at HF_ENDPOINT
    ");
}

#[test]
fn what_does_not_exist_is_said_to_be_missing() {
    let desk = Desk::new();
    let client = desk.client();
    let listed = |id: &str, revision: &str| {
        let repository = Repository::new(Kind::Model, id).unwrap();
        desk.shown(&client.list(&repository, revision, &mut |_| {}).unwrap_err())
    };
    insta::assert_snapshot!(listed("test/modle", "main"), @"
        the hub has no repository test/modle
        hint: look the name up on the hub; a private one needs HF_TOKEN
    ");
    insta::assert_snapshot!(listed("test/model", "v2"), @"
        test/model has no revision `v2`
        hint: name a branch, a tag or a whole commit id of it; `main` is always there
    ");
    insta::assert_snapshot!(desk.shown(&desk.fetch(&["tokenizer.json"]).unwrap_err()), @"
        test/model has no file `tokenizer.json` at commit 0123456789abcdef0123456789abcdef01234567
        hint: look at the files of the repository on the hub
    ");
    insta::assert_snapshot!(desk.shown(&Repository::new(Kind::Model, "mamba").unwrap_err()), @"
        `mamba` names no repository
        hint: write owner/name, as in the address of its page
    ");
}

#[test]
fn a_token_is_mentioned_where_one_was_sent() {
    let desk = Desk::new();
    desk.server.require("hf_other");
    let client = Client::new(&Settings { token: Token::new("hf_mine"), ..desk.settings() });
    let error = client.list(&desk.repository, "main", &mut |_| {}).unwrap_err();
    insta::assert_snapshot!(desk.shown(&error), @"
        the hub does not show test/model with this token: it does not exist, or is private
        hint: look the name up on the hub, and look whether the owner of the token may read it
    ");
}

#[test]
fn names_that_lead_out_of_the_cache_are_never_written() {
    let tricks = ["../../../evil", "/tmp/evil", "a\\..\\evil", "a/../../evil", "c:evil"];
    let mut repo = Repo::new("test/model");
    for name in tricks {
        repo = repo.small(name, "evil");
    }
    let desk = Desk::with(repo);
    let listing = desk.client().list(&desk.repository, "main", &mut |_| {}).unwrap();
    assert_eq!(listing.files.len(), tricks.len());
    desk.server.requests();
    for name in tricks {
        let error = desk.fetch(&[name]).unwrap_err();
        assert!(matches!(error, HubError::BadFileName { .. }), "{name}: {error}");
    }
    insta::assert_snapshot!(desk.shown(&desk.fetch(&[tricks[0]]).unwrap_err()), @"
        test/model names a file `../../../evil`, which is no plain relative path; it was not written
        hint: do not use this repository; tell the hub about it
    ");
    assert_eq!(desk.server.requests(), []);
    assert!(!desk.folder.path().join("hub").exists(), "nothing is written");
    for revision in ["../x", "a\\b", ""] {
        assert!(matches!(
            desk.client().list(&desk.repository, revision, &mut |_| {}),
            Err(HubError::BadRevision { .. })
        ));
    }
}

#[test]
fn a_commit_that_is_none_is_refused_before_it_becomes_a_folder() {
    let desk = Desk::new();
    desk.server.change(|repos| repos[0].commit = "../../../evil".into());
    let error = desk.client().list(&desk.repository, "main", &mut |_| {}).unwrap_err();
    insta::assert_snapshot!(desk.shown(&error), @"
        HUB/api/models/test/model/revision/main: `../../../evil` is no commit
        hint: this is no hub, or one that speaks another language; look at HF_ENDPOINT
    ");
}

#[test]
fn offline_the_cache_is_all_there_is() {
    let desk = Desk::new();
    desk.fetch(&["config.json"]).unwrap();
    desk.server.requests();
    let client = Client::new(&Settings { offline: true, ..desk.settings() });
    client.fetch(&desk.repository, COMMIT, &["config.json"], &mut |_| {}).unwrap();
    let error = client.fetch(&desk.repository, COMMIT, &[WEIGHTS], &mut |_| {}).unwrap_err();
    insta::assert_snapshot!(desk.shown(&error), @"
        model.safetensors of test/model at 0123456789abcdef0123456789abcdef01234567 is not in the cache, and HF_HUB_OFFLINE is set
        hint: unset HF_HUB_OFFLINE once to download it, or name a folder
    ");
    assert!(matches!(client.list(&desk.repository, "main", &mut |_| {}), Err(HubError::Offline { .. })));
    assert_eq!(desk.server.requests(), []);
}

#[test]
fn without_network_the_error_comes_at_once() {
    let desk = Desk::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings { endpoint: format!("http://{closed}"), retry: Retry::default(), ..desk.settings() };
    let started = std::time::Instant::now();
    let error = Client::new(&settings).list(&desk.repository, "main", &mut |_| {}).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(1), "a refused connection is not tried again");
    let text = desk.shown(&error).replace(&closed.to_string(), "CLOSED");
    insta::assert_snapshot!(text, @"
        cannot reach CLOSED: io: Connection refused (os error 111)
        hint: look at the network and at HF_ENDPOINT; where there is no network, bring the cache (HF_HOME) from a machine that has one, or name a folder
    ");
}

/// As two processes do: each has a client and a lock of its own.
#[test]
fn two_at_once_download_once() {
    let desk = Desk::new();
    let results: Vec<PathBuf> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| desk.fetch(&[WEIGHTS]).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for snapshot in results {
        assert_eq!(fs::read(snapshot.join(WEIGHTS)).unwrap(), large());
    }
    let downloads = desk.server.requests().into_iter().filter(|request| request.elsewhere).count();
    assert_eq!(downloads, 1);
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let desk = Desk::new();
    fs::write(desk.folder.path().join("hub"), "a file where a folder should be").unwrap();
    let error = desk.fetch(&["config.json"]).unwrap_err();
    insta::assert_snapshot!(desk.shown(&error), @"
        cannot create FOLDER/hub/.locks/models--test--model: Not a directory (os error 20)
        hint: check the path and its permissions; HF_HOME sets another place
    ");
}
