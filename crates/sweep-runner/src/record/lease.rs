//! Leases: which process runs which piece of work, as files in the results folder.
//!
//! A lease is a file `leases/<work>.<generation>.json`. To take one, a process looks at the leases of the work; where all of
//! them are stale it creates a file of a new generation and looks again. If another lease has appeared meanwhile it gives way.
//! Since everybody creates before looking again, of two processes at least one sees the other's file: never do both go on.
//! No lock of the file system is needed, and no two clocks are compared. Generations count up from the microsecond in which
//! the first one was made, so that no name is used twice and who removes a stale lease removes that one.
//!
//! A lease is stale where its process is known to have ended, or where nobody can look and it has given no sign of life for
//! [`SILENCE`], measured by the clock of whoever waits. The sign is the file's time of change, set through the file that the
//! process itself opened: a process that slept through a takeover touches nothing that is not its own.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use records::files;
use records::owner::{Life, Owner};
use records::regular;
use serde::{Deserialize, Serialize};

use crate::code;

/// Time without a sign of life after which a lease of a process that cannot be looked at is stale.
pub const SILENCE: Duration = Duration::from_mins(1);

/// Time between two signs of life.
const BEAT: Duration = Duration::from_secs(5);

/// Content of a lease file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Who holds it.
    pub owner: Owner,
    /// Different for every lease ever taken.
    token: String,
    /// What it is for, in words.
    pub work: String,
    /// Digest of the code of its holder; empty where the holder does not say.
    #[serde(default)]
    pub build: String,
    /// When it was taken, seconds since 1970-01-01 UTC by the holder's clock.
    pub since_unix_s: u64,
}

/// A lease file as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    path: PathBuf,
    /// What it is for, as a name.
    pub name: String,
    generation: u64,
    /// None where the file is being written or is damaged.
    pub record: Option<LeaseRecord>,
    /// When its holder last gave a sign of life, by the clock of the file system.
    pub beat: SystemTime,
}

/// The leases of a results folder.
#[derive(Debug)]
pub struct Leases {
    folder: PathBuf,
    me: Owner,
    /// Leases of processes that cannot be looked at: the last sign of life, and since when it has been the last.
    watched: Mutex<HashMap<(PathBuf, String), (SystemTime, Instant)>>,
    heart: Heart,
}

/// A lease that this process holds, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    token: String,
    beating: Arc<Mutex<Vec<(PathBuf, File)>>>,
}

/// Outcome of an attempt to take a lease.
#[derive(Debug)]
pub enum Taken {
    /// It is held now.
    Mine(Lease),
    /// Somebody else holds it.
    Held(Box<Found>),
}

impl Leases {
    /// The leases below `folder`, which exists.
    pub fn open(folder: &Path) -> Self {
        Self::of(folder, Owner::me().clone())
    }

    fn of(folder: &Path, me: Owner) -> Self {
        Self { folder: folder.to_owned(), me, watched: Mutex::default(), heart: Heart::default() }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes the lease `name` if it is free or stale. `work` says in words what it is for.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn take(&self, name: &str, work: &str) -> io::Result<Taken> {
        let before = self.list(Some(name))?;
        if let Some(held) = before.iter().find(|found| !self.is_stale(found)) {
            return Ok(Taken::Held(Box::new(held.clone())));
        }
        let generation = before.iter().map(|found| found.generation + 1).max().unwrap_or_else(microseconds);
        let path = self.folder.join(format!("{name}.{generation}.json"));
        let record = self.record(work);
        let Some(file) = create(&path, &record)? else {
            let held = self.list(Some(name))?.into_iter().next_back();
            return Ok(held.map_or_else(
                || Taken::Held(Box::new(Found::unread(&path, name, generation))),
                |held| Taken::Held(Box::new(held)),
            ));
        };
        let lease = Lease { path: path.clone(), token: record.token, beating: self.heart.start(path.clone(), file) };
        let seen =
            |other: &Found| before.iter().any(|known| known.path == other.path && known.token() == other.token());
        let rival = self.list(Some(name))?.into_iter().find(|other| other.path != path && !seen(other));
        if let Some(rival) = rival {
            return Ok(Taken::Held(Box::new(rival)));
        }
        for stale in before {
            let _ = fs::remove_file(stale.path);
        }
        Ok(Taken::Mine(lease))
    }

    /// Who holds the lease `name`; none where it could be taken.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn holder(&self, name: &str) -> io::Result<Option<Found>> {
        Ok(self.list(Some(name))?.into_iter().find(|found| !self.is_stale(found)))
    }

    /// All leases, or those of one name, older generations first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self, name: Option<&str>) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let Some(stem) = path.file_name().and_then(|file| file.to_str()?.strip_suffix(".json")) else { continue };
            let Some((own, generation)) = stem.rsplit_once('.') else { continue };
            let Ok(generation) = generation.parse() else { continue };
            if name.is_none_or(|name| name == own) && !own.starts_with('.') {
                all.extend(Found::read(&path, own, generation)?);
            }
        }
        all.sort_by(|a, b| (&a.name, a.generation).cmp(&(&b.name, b.generation)));
        Ok(all)
    }

    /// Whether a lease may be taken over.
    pub fn is_stale(&self, found: &Found) -> bool {
        match found.record.as_ref().map_or(Life::Unknown, |record| record.owner.life(&self.me)) {
            Life::Alive => false,
            Life::Gone => true,
            Life::Unknown => {
                let mut watched = lock(&self.watched);
                let key = (found.path.clone(), found.token().to_owned());
                let (beat, since) = watched.entry(key).or_insert((found.beat, Instant::now()));
                if *beat != found.beat {
                    (*beat, *since) = (found.beat, Instant::now());
                }
                since.elapsed() >= SILENCE
            }
        }
    }

    /// A lease whose holder lives, as far as one look can tell, and is another build of this program.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn other_build(&self) -> io::Result<Option<Found>> {
        let mine = code::build();
        let is_other = |found: &Found| found.record.as_ref().is_some_and(|record| record.build != mine);
        Ok(self.list(None)?.into_iter().find(|found| is_other(found) && !found.seems_stale(&self.me)))
    }

    /// Removes the leases of processes that have ended.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn clean(&self) -> io::Result<()> {
        for found in self.list(None)? {
            if found.record.as_ref().is_some_and(|record| record.owner.life(&self.me) == Life::Gone) {
                let _ = fs::remove_file(found.path);
            }
        }
        Ok(())
    }

    fn record(&self, work: &str) -> LeaseRecord {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        LeaseRecord {
            owner: self.me.clone(),
            token: format!("{}-{}-{number}", self.me.tag(), now.as_nanos()),
            work: work.to_owned(),
            build: code::build(),
            since_unix_s: now.as_secs(),
        }
    }
}

fn microseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_micros() as u64)
}

impl Found {
    /// None where the file is gone.
    fn read(path: &Path, name: &str, generation: u64) -> io::Result<Option<Self>> {
        let read = || -> io::Result<Self> {
            // Opening asks a network file system for the file as it is now, a listing may not.
            let file = regular::open(path)?;
            let beat = file.metadata()?.modified()?;
            let record = serde_json::from_reader(io::BufReader::new(file)).ok();
            Ok(Self { path: path.to_owned(), name: name.to_owned(), generation, record, beat })
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    fn unread(path: &Path, name: &str, generation: u64) -> Self {
        let beat = SystemTime::now();
        Self { path: path.to_owned(), name: name.to_owned(), generation, record: None, beat }
    }

    fn token(&self) -> &str {
        self.record.as_ref().map_or("", |record| &record.token)
    }

    /// Whether it may be taken over, as far as one look can tell: a run watches for a minute by its own clock, here the clock of the
    /// file system has to do.
    pub fn seems_stale(&self, me: &Owner) -> bool {
        match self.record.as_ref().map_or(Life::Unknown, |record| record.owner.life(me)) {
            Life::Alive => false,
            Life::Gone => true,
            Life::Unknown => SystemTime::now().duration_since(self.beat).is_ok_and(|silence| silence > SILENCE),
        }
    }

    /// The holder, for messages.
    pub fn who(&self) -> String {
        self.record.as_ref().map_or_else(
            || "a process that is just beginning".to_owned(),
            |record| format!("process {} on {}", record.owner.pid, record.owner.host),
        )
    }
}

/// Creates a lease file that is whole from the start; none where there is one already.
fn create(path: &Path, record: &LeaseRecord) -> io::Result<Option<File>> {
    let aside = files::aside(path);
    let mut text = serde_json::to_vec(record)?;
    text.push(b'\n');
    let made = || -> io::Result<Option<File>> {
        let mut file = File::create_new(&aside)?;
        file.write_all(&text)?;
        match fs::hard_link(&aside, path) {
            Ok(()) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            // No links here: others may see an empty file for a moment, and take it for a lease that is held.
            Err(_) => match File::create_new(path) {
                Ok(mut file) => file.write_all(&text).map(|()| Some(file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(error),
            },
        }
    };
    let made = made();
    let _ = fs::remove_file(&aside);
    made
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.beating).retain(|(path, _)| *path != self.path);
        // After a takeover the name may belong to somebody else.
        let mine = Found::read(&self.path, "", 0).ok().flatten().is_some_and(|found| found.token() == self.token);
        if mine {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The thread that gives signs of life for all leases of this process.
#[derive(Debug, Default)]
struct Heart {
    beating: Arc<Mutex<Vec<(PathBuf, File)>>>,
    thread: Mutex<Option<(Arc<AtomicBool>, JoinHandle<()>)>>,
}

impl Heart {
    /// Gives signs of life for one more lease.
    fn start(&self, path: PathBuf, file: File) -> Arc<Mutex<Vec<(PathBuf, File)>>> {
        lock(&self.beating).push((path, file));
        lock(&self.thread).get_or_insert_with(|| {
            let stopped = Arc::new(AtomicBool::new(false));
            let (beating, ends) = (Arc::clone(&self.beating), Arc::clone(&stopped));
            let beat = move || {
                while !ends.load(Ordering::Relaxed) {
                    thread::park_timeout(BEAT);
                    for (_, file) in lock(&beating).iter() {
                        // A sign that cannot be given now is given next time; others wait for a minute.
                        let _ = file.set_modified(SystemTime::now());
                    }
                }
            };
            (stopped, thread::spawn(beat))
        });
        Arc::clone(&self.beating)
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        if let Some((stopped, thread)) = lock(&self.thread).take() {
            stopped.store(true, Ordering::Relaxed);
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mine(taken: Taken) -> Option<Lease> {
        match taken {
            Taken::Mine(lease) => Some(lease),
            Taken::Held(_) => None,
        }
    }

    /// A lease whose holder is somewhere or something else.
    fn leave(folder: &Path, name: &str, change: impl FnOnce(serde_json::Value) -> serde_json::Value) -> PathBuf {
        let leases = Leases::open(folder);
        let record = serde_json::to_value(leases.record("old work")).unwrap();
        let path = folder.join(format!("{name}.3.json"));
        fs::write(&path, change(record).to_string()).unwrap();
        path
    }

    fn dead(mut record: serde_json::Value) -> serde_json::Value {
        record["owner"]["pid"] = u32::MAX.into();
        record
    }

    fn elsewhere(mut record: serde_json::Value) -> serde_json::Value {
        record["owner"]["host"] = "elsewhere".into();
        record
    }

    #[test]
    fn a_lease_is_held_once_and_free_again() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (Leases::open(folder.path()), Leases::open(folder.path()));
        let lease = mine(here.take("a", "group 1").unwrap()).expect("nobody holds it");
        let Taken::Held(held) = there.take("a", "group 1").unwrap() else { panic!("held twice") };
        assert!(held.who().contains(&std::process::id().to_string()), "{}", held.who());
        assert!(mine(there.take("b", "group 2").unwrap()).is_some(), "another name is another lease");
        assert!(there.holder("a").unwrap().is_some());
        drop(lease);
        assert!(there.holder("a").unwrap().is_none());
        assert!(mine(there.take("a", "group 1").unwrap()).is_some());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_lease_of_the_dead_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let old = leave(folder.path(), "a", dead);
        let leases = Leases::open(folder.path());
        let lease = mine(leases.take("a", "new work").unwrap()).expect("its holder is dead");
        assert!(!old.exists());
        let all = leases.list(None).unwrap();
        assert_eq!((all.len(), all[0].record.as_ref().unwrap().work.as_str()), (1, "new work"));
        drop(lease);
        assert!(leases.list(None).unwrap().is_empty());
    }

    #[test]
    fn silence_is_measured_by_who_waits() {
        let folder = tempfile::tempdir().unwrap();
        let old = leave(folder.path(), "a", elsewhere);
        // Long ago by the clock of the file system, which says nothing.
        File::open(&old).unwrap().set_modified(UNIX_EPOCH).unwrap();
        let leases = Leases::open(folder.path());
        assert!(mine(leases.take("a", "work").unwrap()).is_none());
        let waited = |seconds: u64| {
            for (_, since) in lock(&leases.watched).values_mut() {
                *since = since.checked_sub(Duration::from_secs(seconds)).unwrap();
            }
        };
        waited(50);
        assert!(mine(leases.take("a", "work").unwrap()).is_none());
        File::open(&old).unwrap().set_modified(SystemTime::now()).unwrap();
        assert!(mine(leases.take("a", "work").unwrap()).is_none());
        waited(50);
        assert!(mine(leases.take("a", "work").unwrap()).is_none(), "a sign of life starts the minute anew");
        waited(20);
        assert!(mine(leases.take("a", "work").unwrap()).is_some());
    }

    #[test]
    fn a_living_process_of_another_build_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let leases = Leases::open(folder.path());
        let lease = mine(leases.take("a", "work").unwrap()).unwrap();
        assert!(leases.other_build().unwrap().is_none());
        let other = |mut record: serde_json::Value| {
            record["build"] = "other".into();
            record
        };
        let path = leave(folder.path(), "b", other);
        assert_eq!(leases.other_build().unwrap().unwrap().name, "b");
        leave(folder.path(), "b", |record| dead(other(record)));
        assert!(leases.other_build().unwrap().is_none());
        leave(folder.path(), "b", |record| elsewhere(other(record)));
        assert!(leases.other_build().unwrap().is_some());
        File::open(&path).unwrap().set_modified(UNIX_EPOCH).unwrap();
        assert!(leases.other_build().unwrap().is_none());
        drop(lease);
    }

    #[test]
    fn a_file_that_is_no_lease_yet_is_held() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.0.json"), "").unwrap();
        let leases = Leases::open(folder.path());
        assert!(mine(leases.take("a", "work").unwrap()).is_none());
    }

    /// Many threads, each as a process of its own, fight for the lease of a dead process, again and again.
    #[test]
    fn one_of_many_takes_over() {
        for round in 0..40 {
            let folder = tempfile::tempdir().unwrap();
            if round % 2 == 0 {
                leave(folder.path(), "a", dead);
            }
            let holders = AtomicU64::new(0);
            let taken = AtomicU64::new(0);
            let start = std::sync::Barrier::new(8);
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let leases = Leases::open(folder.path());
                        start.wait();
                        for _ in 0..20 {
                            if let Some(lease) = mine(leases.take("a", "work").unwrap()) {
                                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "held twice");
                                taken.fetch_add(1, Ordering::SeqCst);
                                thread::yield_now();
                                holders.fetch_sub(1, Ordering::SeqCst);
                                drop(lease);
                            }
                        }
                    });
                }
            });
            assert!(taken.load(Ordering::SeqCst) > 0);
        }
    }

    #[test]
    fn who_slept_through_a_takeover_removes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let leases = Leases::open(folder.path());
        let lease = mine(leases.take("a", "work").unwrap()).unwrap();
        // Somebody took over, was done, and a third one holds the name now.
        let third = LeaseRecord { token: "third".to_owned(), ..leases.record("work") };
        fs::write(&lease.path, serde_json::to_string(&third).unwrap()).unwrap();
        let path = lease.path.clone();
        drop(lease);
        assert!(path.exists());
    }
}
