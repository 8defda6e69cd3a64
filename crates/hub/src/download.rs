//! One file: from the hub to a verified blob.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::HeaderMap;

use crate::cache::{Cache, create_parent};
use crate::hash::Expected;
use crate::http::{Http, Method, Reply};
use crate::status::{self, Asked};
use crate::{Event, HubError, Report, Repository};

/// Characters of a path that stay as they are.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The same for a part of a path, in which a slash is no separator.
const PART: &AsciiSet = &PATH.add(b'/');

/// Bytes that count as getting on: after them, failures are counted anew.
const PROGRESS: u64 = 1 << 20;

/// Escapes a revision for the path of an address.
pub(crate) fn escape(revision: &str) -> String {
    utf8_percent_encode(revision, PART).to_string()
}

/// A file of a repository at a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) commit: &'a str,
    pub(crate) name: &'a str,
}

/// What the hub says of a file.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) size: u64,
    pub(crate) expected: Expected,
}

impl Wanted<'_> {
    fn path(&self) -> String {
        format!("/{}/resolve/{}/{}", self.repository, self.commit, utf8_percent_encode(self.name, PATH))
    }

    fn asked(&self) -> Asked<'_> {
        Asked { repository: self.repository, revision: self.commit, file: Some(self.name) }
    }

    /// Size and hash, without the file.
    pub(crate) fn describe(&self, http: &Http, report: Report<'_>) -> Result<Described, HubError> {
        let answer = http.send(Method::Head, &self.path(), self.asked(), report)?;
        let headers = answer.response.headers();
        let etag = status::text(headers, "x-linked-etag").or_else(|| status::text(headers, "etag")).unwrap_or_default();
        let Some(expected) = Expected::from_etag(etag) else {
            return Err(HubError::NoHash { url: answer.url, etag: etag.replace('"', "") });
        };
        // The length of a redirect is that of its own text.
        let own = answer.response.status().is_success().then(|| status::text(headers, "content-length")).flatten();
        let size = status::text(headers, "x-linked-size").or(own).and_then(|size| size.trim().parse().ok());
        let size = size.ok_or_else(|| bad_answer(&answer.url, "the size of the file is missing"))?;
        Ok(Described { size, expected })
    }

    /// Brings the file into the cache.
    pub(crate) fn download(
        &self,
        http: &Http,
        cache: &Cache,
        described: &Described,
        report: Report<'_>,
    ) -> Result<(), HubError> {
        let Described { size, expected } = described;
        let blob = cache.blob(self.repository, expected);
        let _lock = cache.lock(self.repository, self.name, expected, report)?;
        // Another process, or another file with the same bytes. One that is damaged is replaced when there is something to put there.
        let is_whole = blob.is_file() && cache.check(self.repository, self.name, &blob, expected).is_ok();
        if !is_whole {
            let aside = blob.with_file_name(format!("{}.incomplete", expected.as_str()));
            create_parent(&aside)?;
            let begun = aside.metadata().is_ok_and(|metadata| metadata.len() > 0);
            let mut verified = self.fill(http, &aside, *size, report).and_then(|()| self.verify(&aside, expected));
            if begun && matches!(verified, Err(HubError::WrongHash { .. })) {
                // What was there before may have been of something else.
                verified = self.fill(http, &aside, *size, report).and_then(|()| self.verify(&aside, expected));
            }
            verified?;
            fs::rename(&aside, &blob).map_err(|error| HubError::io("write", &blob, error))?;
            cache.note_whole(self.repository, &blob, expected);
        }
        cache.link(self.repository, self.commit, self.name, expected)?;
        report(Event::Done { file: self.name, size: *size });
        Ok(())
    }

    /// Downloads what is missing of `aside`, in as many requests as it takes, until it has `size` bytes and they are on the disk.
    fn fill(&self, http: &Http, aside: &Path, size: u64, report: Report<'_>) -> Result<(), HubError> {
        let io = |error| HubError::io("write", aside, error);
        let mut file = File::options().create(true).truncate(false).write(true).open(aside).map_err(io)?;
        let mut have = file.seek(SeekFrom::End(0)).map_err(io)?;
        if have > size {
            have = restart(&mut file).map_err(io)?;
        }
        // Bytes from which failures are counted anew: a server that always begins anew and always breaks off brings nothing.
        let (mut failed, mut goal) = (0, have + PROGRESS);
        while have < size {
            let answer = http.send(Method::Get { from: have }, &self.path(), self.asked(), report)?;
            if !continues(&answer.response, have, size) {
                have = restart(&mut file).map_err(io)?;
            }
            let Reply { response, url } = answer;
            let mut stalled = None;
            if response.status() != 416 {
                let mut copy = Copy { wanted: self, file: &mut file, aside, have, size, url: &url };
                (have, stalled) = copy.run(http.body(response), report)?;
            }
            if have == size {
                break;
            }
            failed += 1;
            if have >= goal {
                (failed, goal) = (1, have + PROGRESS);
            }
            let retry = if stalled.is_some() { http.retry.of_silence() } else { http.retry };
            let Some(pause) = retry.pause(failed, None) else {
                let (repository, file) = (self.repository.clone(), self.name.to_owned());
                return Err(match stalled {
                    Some(problem) => HubError::Stalled { url, problem },
                    None => HubError::Truncated { repository, file, got: have, size },
                });
            };
            let how = stalled.map_or_else(String::new, |problem| format!(" ({problem})"));
            report(Event::Waiting { why: format!("{} ended after {have} of {size} bytes{how}", self.name), pause });
            std::thread::sleep(pause);
        }
        file.sync_all().map_err(io)
    }

    /// Compares the bytes on the disk with the hash; removes them if they differ.
    fn verify(&self, aside: &Path, expected: &Expected) -> Result<(), HubError> {
        let got = expected.of_file(aside).map_err(|error| HubError::io("read", aside, error))?;
        if got == expected.as_str() {
            return Ok(());
        }
        fs::remove_file(aside).map_err(|error| HubError::io("remove", aside, error))?;
        let (repository, file) = (self.repository.clone(), self.name.to_owned());
        Err(HubError::WrongHash { repository, file, got, expected: expected.as_str().to_owned() })
    }
}

/// The body of one answer on its way to the disk.
struct Copy<'a> {
    wanted: &'a Wanted<'a>,
    file: &'a mut File,
    aside: &'a Path,
    have: u64,
    size: u64,
    url: &'a str,
}

impl Copy<'_> {
    /// Writes what arrives; returns how much is there then, and what arrived in which time if that was too little. A body that
    /// breaks off is no error here: what arrived is kept.
    fn run(&mut self, mut body: impl Read, report: Report<'_>) -> Result<(u64, Option<String>), HubError> {
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok((self.have, None)),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok((self.have, Some(error.to_string()))),
                // A server that goes away is met like one that ends: the caller sees that bytes are missing.
                Err(_) => return Ok((self.have, None)),
            };
            if self.have + count as u64 > self.size {
                return Err(bad_answer(self.url, format!("more than the {} bytes that were announced", self.size)));
            }
            self.file.write_all(&buffer[..count]).map_err(|error| HubError::io("write", self.aside, error))?;
            self.have += count as u64;
            report(Event::At { file: self.wanted.name, bytes: self.have, size: self.size });
        }
    }
}

/// Whether an answer goes on where the file ends. Status 200 is the whole file, 416 says that there is no such place.
fn continues(response: &ureq::http::Response<ureq::Body>, have: u64, size: u64) -> bool {
    match response.status().as_u16() {
        206 => content_range(response.headers()) == Some((have, size)),
        _ => have == 0,
    }
}

/// First byte and size of the whole, of `bytes 5-9/10`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (range, size) = status::text(headers, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, size.trim().parse().ok()?))
}

fn restart(file: &mut File) -> std::io::Result<u64> {
    file.set_len(0)?;
    file.rewind()?;
    Ok(0)
}

fn bad_answer(url: &str, problem: impl Into<String>) -> HubError {
    HubError::BadAnswer { url: url.to_owned(), problem: problem.into() }
}
