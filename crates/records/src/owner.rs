//! Which process is at work, so that another one can tell whether it still lives.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A process on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Name of the machine.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// When the process started, in clock ticks since boot: ids are used again, this is not.
    started: u64,
    user: u32,
    /// The machine, its boot, and the process id namespace (a container has its own); empty where the system does not tell.
    machine: String,
    boot: String,
    namespace: String,
}

/// What is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Alive,
    /// It has ended, or its machine was started anew.
    Gone,
    /// It runs, or ran, where this process cannot look.
    Unknown,
}

impl Owner {
    /// This process.
    pub fn me() -> &'static Self {
        static ME: OnceLock<Owner> = OnceLock::new();
        ME.get_or_init(|| {
            let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
            let host = line("/proc/sys/kernel/hostname");
            let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
            let pid = std::process::id();
            Self {
                host: if host.is_empty() { "unknown".to_owned() } else { host },
                pid,
                started: started(pid).unwrap_or(0),
                user: fs::metadata("/proc/self").map_or(0, |facts| facts.uid()),
                machine: line("/etc/machine-id"),
                boot: line("/proc/sys/kernel/random/boot_id"),
                namespace: namespace.to_string_lossy().into_owned(),
            }
        })
    }

    /// Whether the process lives, as far as `observer` can see.
    pub fn life(&self, observer: &Self) -> Life {
        let known = !self.boot.is_empty() && self.host == observer.host && self.machine == observer.machine;
        if !known {
            return Life::Unknown;
        }
        if self.boot != observer.boot {
            // Machines may share a name, but not a name and an identity.
            return if self.machine.is_empty() { Life::Unknown } else { Life::Gone };
        }
        // Processes of another container or user may be invisible without being gone.
        if self.namespace != observer.namespace || self.user != observer.user || self.started == 0 {
            return Life::Unknown;
        }
        if started(self.pid) == Some(self.started) { Life::Alive } else { Life::Gone }
    }

    /// Short name for files: place, process id and start.
    pub fn tag(&self) -> String {
        format!("{}-{}-{}", self.place(), self.pid, self.started)
    }

    /// Whether `tag` names a process of this one's place that has ended.
    pub fn outlives(&self, tag: &str) -> bool {
        let mut fields = tag.split('-');
        let number = |place: Option<&str>| place.and_then(|text| text.parse::<u64>().ok());
        if fields.next() != Some(self.place().as_str()) {
            return false;
        }
        let (pid, start) = (number(fields.next()), number(fields.next()));
        pid.is_some_and(|pid| started(pid as u32) != start)
    }

    fn place(&self) -> String {
        let place = [&self.host, &self.machine, &self.boot, &self.namespace, &self.user.to_string()];
        blake3::hash(place.map(String::as_str).join("\n").as_bytes()).to_hex()[..8].to_owned()
    }
}

/// Whether `text` is a short name as [`Owner::tag`] makes them.
pub(crate) fn is_tag(text: &str) -> bool {
    let fields: Vec<&str> = text.split('-').collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    matches!(&fields[..], [place, pid, started]
        if place.len() == 8 && place.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits(pid) && digits(started))
}

/// Start of a process in clock ticks since boot; none where it has ended, if only to wait for its parent.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything; after it come the state and 18 more fields (proc(5)).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_until_its_id_is_used_again() {
        let me = Owner::me();
        assert_eq!(me.life(me), Life::Alive);
        assert_eq!(Owner { started: me.started + 1, ..me.clone() }.life(me), Life::Gone);
        assert_eq!(Owner { pid: u32::MAX, ..me.clone() }.life(me), Life::Gone);
        assert!(!me.outlives(&me.tag()));
        assert!(me.outlives(&Owner { pid: u32::MAX, ..me.clone() }.tag()));
    }

    #[test]
    fn a_tag_is_told_from_other_words() {
        assert!(is_tag(&Owner::me().tag()));
        for other in
            ["", "a", "0123456-1-1", "012345678-1-1", "01234567-1", "01234567-1-", "01234567-a-1", "g1234567-1-1"]
        {
            assert!(!is_tag(other), "{other}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_not_gone() {
        let me = Owner::me();
        let gone = Owner { pid: u32::MAX, ..me.clone() };
        for unseen in [
            Owner { host: "elsewhere".to_owned(), ..gone.clone() },
            Owner { namespace: "pid:[1]".to_owned(), ..gone.clone() },
            Owner { user: me.user + 1, ..gone.clone() },
            Owner { boot: String::new(), ..gone.clone() },
        ] {
            assert_eq!(unseen.life(me), Life::Unknown, "{unseen:?}");
        }
        assert!(!me.outlives(&Owner { host: "elsewhere".to_owned(), ..gone }.tag()));
    }

    #[test]
    fn a_machine_that_was_started_anew_took_its_processes_along() {
        let here = Owner { machine: "m".to_owned(), ..Owner::me().clone() };
        let before = Owner { boot: "before".to_owned(), ..here.clone() };
        assert_eq!(before.life(&here), Life::Gone);
        let nameless = Owner { machine: String::new(), ..here };
        assert_eq!(Owner { boot: "other".to_owned(), ..nameless.clone() }.life(&nameless), Life::Unknown);
    }
}
