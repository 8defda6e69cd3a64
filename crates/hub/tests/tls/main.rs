//! A hub behind TLS whose certificate an authority signed that only `SSL_CERT_FILE` names. `make.sh` made the certificates.

#[path = "../server/mod.rs"]
mod server;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hint::Hint;
use hub::{Certificates, Client, HubError, Kind, Pace, Repository, Retry, Settings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use server::{COMMIT, Repo, Server};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// Takes TLS connections and hands each request on to `hub`; returns its address.
fn front(hub: String) -> String {
    let chain = vec![CertificateDer::from_pem_file(file("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (config, hub) = (Arc::clone(&config), hub.clone());
            // A client that trusts nobody hangs up.
            thread::spawn(move || hand_on(StreamOwned::new(ServerConnection::new(config).unwrap(), stream), &hub).ok());
        }
    });
    format!("https://{address}")
}

/// The server closes its connection after one answer.
fn hand_on(mut client: StreamOwned<ServerConnection, TcpStream>, hub: &str) -> std::io::Result<()> {
    let mut request = String::new();
    let mut lines = BufReader::new(&mut client);
    while !request.ends_with("\r\n\r\n") {
        if lines.read_line(&mut request)? == 0 {
            return Ok(());
        }
    }
    let mut hub = TcpStream::connect(hub)?;
    hub.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    hub.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}

struct Desk {
    folder: TempDir,
    endpoint: String,
    repository: Repository,
}

impl Desk {
    fn new() -> Self {
        let server = Server::start(vec![Repo::new("test/model").small("config.json", "{}\n")]);
        Self {
            folder: TempDir::new().unwrap(),
            endpoint: front(server.endpoint()["http://".len()..].to_owned()),
            repository: Repository::new(Kind::Model, "test/model").unwrap(),
        }
    }

    fn client(&self, certificates: Option<Certificates>) -> Client {
        Client::new(&Settings {
            endpoint: self.endpoint.clone(),
            cache: self.folder.path().join("hub"),
            token: None,
            offline: false,
            certificates,
            retry: Retry::default(),
            pace: Pace::default(),
        })
    }
}

#[test]
fn a_certificate_that_somebody_vouches_for_is_taken() {
    let desk = Desk::new();
    let client = desk.client(Some(Certificates::read(&file("authority.pem")).unwrap()));
    let listing = client.list(&desk.repository, "main", &mut |_| {}).unwrap();
    assert_eq!(listing.commit, COMMIT);
    let snapshot = client.fetch(&desk.repository, COMMIT, &["config.json"], &mut |_| {}).unwrap();
    assert_eq!(fs::read_to_string(snapshot.join("config.json")).unwrap(), "{}\n");
}

#[test]
fn one_that_nobody_vouches_for_is_refused_at_once() {
    let desk = Desk::new();
    let started = Instant::now();
    let error = desk.client(None).list(&desk.repository, "main", &mut |_| {}).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(1), "it is not tried again");
    assert!(matches!(error, HubError::Untrusted { .. }), "{error}");
    let shown = format!("{error}\nhint: {}", error.hint().unwrap()).replace(&desk.endpoint["https://".len()..], "HUB");
    insta::assert_snapshot!(shown, @"
    HUB cannot prove that it is HUB: invalid peer certificate: UnknownIssuer
    hint: where a proxy looks into connections, name the file that holds its certificate with SSL_CERT_FILE; the system's own file, for example /etc/ssl/certs/ca-certificates.crt, often does
    ");
}

#[test]
fn a_file_without_certificates_is_refused() {
    let refused = |path: &Path| {
        let lookup = |name: &str| match name {
            "HOME" => Some("/home/user".to_owned()),
            "SSL_CERT_FILE" => Some(path.display().to_string()),
            _ => None,
        };
        let error = Settings::from_lookup(lookup).unwrap_err();
        format!("{error}\nhint: {}", error.hint().unwrap()).replace(&path.display().to_string(), "FILE")
    };
    insta::assert_snapshot!(refused(&file("server.key")), @"
    SSL_CERT_FILE is `FILE`, which is a file without certificates
    hint: set the variable right, or unset it
    ");
    insta::assert_snapshot!(refused(&file("nothing.pem")), @"
    cannot read FILE: No such file or directory (os error 2)
    hint: check the path and its permissions; HF_HOME sets another place
    ");
}
