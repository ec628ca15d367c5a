//! From the recorder to the disk: records gather in memory and go down in batches, by a thread of
//! their own. It sleeps without a timer while nothing is pending.

use std::collections::VecDeque;
use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::block::Header;
use super::encode::RecordsBlock;
use super::store::{Extent, Limits, Store, StoreError};
use crate::apps::Packages;
use crate::clock::{self, Moment};
use crate::record::Event;

/// So many bytes go down at once without waiting for their time: some ten thousand records.
const BATCH_BYTES: usize = 128 * 1024;
/// So many wait while the disk takes none; the oldest make room.
const PENDING_BYTES: usize = 1024 * 1024;
const HOUR_MILLIS: u64 = 3_600_000;

/// Where and how a history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder.
    pub folder: PathBuf,
    /// How much is kept.
    pub limits: Limits,
    /// How long the first record of a batch waits for more.
    pub batch: Duration,
}

/// The recorder's end: takes events in and never waits for the disk. When it is dropped, what is
/// pending is written, without waiting for that.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    words: Sender<Word>,
    packages: Arc<ArcSwap<Packages>>,
}

/// How the history is.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// What is on the disk.
    pub extent: Extent,
    /// Batches written in the last hour; each is a wait for the disk.
    pub writes_last_hour: usize,
    /// Bytes that wait to be written.
    pub pending_bytes: usize,
    /// Records that were lost because the disk took none for too long.
    pub lost: u64,
    /// Why nothing is written right now.
    pub trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    told: Mutex<Told>,
}

/// What has not been written.
#[derive(Debug, Default)]
struct Pending {
    open: Option<RecordsBlock>,
    /// Whole blocks, oldest first.
    sealed: VecDeque<Vec<u8>>,
    sealed_bytes: usize,
    lost: u64,
    /// Nothing will ever be written.
    is_off: bool,
}

#[derive(Debug, Default)]
struct Told {
    extent: Extent,
    trouble: Option<String>,
    /// When something was written, in the last hour.
    writes: VecDeque<Moment>,
}

/// What the thread is told.
enum Word {
    /// There is something to be written, where there was nothing.
    Pending,
    /// There is enough for a batch.
    Full,
    /// Write now, and say how it went.
    Flush(oneshot::Sender<Result<(), String>>),
    /// From now on like this; the folder stays the same.
    Settings(Settings),
}

impl Writer {
    /// Starts the thread. It opens the folder by itself: whoever starts it does not wait for that.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(
        settings: Settings,
        packages: &Arc<ArcSwap<Packages>>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (words, incoming) = channel();
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            settings,
            store: None,
            is_over: None,
        };
        std::thread::Builder::new()
            .name("history".into())
            .spawn(move || keeper.keep(&incoming))?;
        Ok(Self {
            shared,
            words,
            packages: Arc::clone(packages),
        })
    }

    /// Takes in an event that has this number in the log.
    pub fn push(
        &self,
        number: u64,
        event: &Event,
        resolved_from: &[Arc<str>],
        process: Option<&str>,
    ) {
        let packages = self.packages.load();
        let mut pending = lock(&self.shared.pending);
        if pending.is_off {
            return;
        }
        let was_empty = pending.is_empty();
        let is_next = |open: &RecordsBlock| open.takes(number, event, &packages);
        let mut is_batch = false;
        if !pending.open.as_ref().is_some_and(is_next) {
            let before = pending.sealed_bytes;
            pending.seal();
            is_batch = before < BATCH_BYTES && pending.sealed_bytes >= BATCH_BYTES;
        }
        pending
            .open
            .get_or_insert_with(|| RecordsBlock::new(number, &event.ruleset, &packages))
            .push(event, resolved_from, process);
        drop(pending);
        if was_empty {
            self.say(Word::Pending);
        }
        if is_batch {
            self.say(Word::Full);
        }
    }

    /// Lets go of the rules that decided what is pending: they are no longer in force.
    pub fn seal(&self) {
        lock(&self.shared.pending).seal();
    }

    /// Has all that is pending written, and waits for that.
    ///
    /// # Errors
    /// It could not be written; the answer says why. It stays pending.
    pub async fn flush(&self) -> Result<(), String> {
        let (answer, written) = oneshot::channel();
        self.say(Word::Flush(answer));
        written
            .await
            .unwrap_or_else(|_| Err("the history has ended".to_owned()))
    }

    /// Changes everything but the folder.
    pub fn set(&self, settings: Settings) {
        self.say(Word::Settings(settings));
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut told = lock(&self.shared.told);
        told.forget_old_writes();
        let pending = lock(&self.shared.pending);
        Health {
            extent: told.extent.clone(),
            writes_last_hour: told.writes.len(),
            pending_bytes: pending.bytes(),
            lost: pending.lost,
            trouble: told.trouble.clone(),
        }
    }

    fn say(&self, word: Word) {
        // A thread that has ended has nothing to write to.
        let _ended = self.words.send(word);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.open.is_none() && self.sealed.is_empty()
    }

    fn bytes(&self) -> usize {
        self.sealed_bytes + self.open.as_ref().map_or(0, RecordsBlock::len_bytes)
    }

    fn seal(&mut self) {
        if let Some(open) = self.open.take() {
            let block = open.seal();
            self.sealed_bytes += block.len();
            self.sealed.push_back(block);
        }
        self.bound();
    }

    /// The oldest make room.
    fn bound(&mut self) {
        while self.sealed_bytes > PENDING_BYTES
            && let Some(block) = self.sealed.pop_front()
        {
            self.sealed_bytes -= block.len();
            self.lost += Header::read(&block).map_or(0, |it| it.count.into());
        }
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        self.seal();
        self.sealed_bytes = 0;
        self.sealed.drain(..).collect()
    }

    fn turn_off(&mut self) {
        *self = Self {
            is_off: true,
            ..Self::default()
        };
    }

    fn put_back(&mut self, blocks: Vec<Vec<u8>>) {
        for block in blocks.into_iter().rev() {
            self.sealed_bytes += block.len();
            self.sealed.push_front(block);
        }
        self.bound();
    }
}

impl Told {
    fn forget_old_writes(&mut self) {
        let now = Moment::since_boot();
        while self
            .writes
            .front()
            .is_some_and(|&written| now.millis_since(written) > HOUR_MILLIS)
        {
            self.writes.pop_front();
        }
    }
}

/// The thread: it alone touches the folder.
struct Keeper {
    shared: Arc<Shared>,
    settings: Settings,
    store: Option<Store>,
    /// Why it will never be written.
    is_over: Option<String>,
}

impl Keeper {
    fn keep(mut self, words: &Receiver<Word>) {
        let _later = self.write();
        let mut due: Option<Moment> = None;
        while let Ok(word) = next(words, due) {
            match word {
                Some(Word::Pending) => {
                    due = due.or_else(|| Some(Moment::awake().after(self.settings.batch)));
                }
                Some(Word::Settings(settings)) => {
                    if let Some(store) = &mut self.store {
                        store.set_limits(settings.limits);
                    }
                    self.settings = settings;
                }
                Some(Word::Flush(answer)) => {
                    let written = self.write();
                    due = self.next_try(&written);
                    // Whoever asked may be gone by now.
                    let _asker_gone = answer.send(written);
                }
                Some(Word::Full) | None => {
                    let written = self.write();
                    due = self.next_try(&written);
                }
            }
        }
        let _said = self.write();
    }

    /// What could not be written is tried again later.
    fn next_try(&self, written: &Result<(), String>) -> Option<Moment> {
        let again = written.is_err() && !lock(&self.shared.pending).is_empty();
        again.then(|| Moment::awake().after(self.settings.batch))
    }

    /// Writes all that is pending; says what is in the way where it cannot.
    fn write(&mut self) -> Result<(), String> {
        let written = match &self.is_over {
            Some(why) => Err(why.clone()),
            None => self.try_write().map_err(|error| in_words(&error)),
        };
        let mut told = lock(&self.shared.told);
        match (&told.trouble, &written) {
            (None, Err(trouble)) => log::error!("{trouble}"),
            (Some(_), Ok(())) => log::info!("the history can be written again"),
            _ => {}
        }
        told.trouble = written.clone().err();
        written
    }

    fn try_write(&mut self) -> Result<(), StoreError> {
        let written = self.write_once();
        // The folder may have been taken away, or has come to harm otherwise.
        if self.is_over.is_none() && written.as_ref().is_err_and(|it| !it.is_out_of_space()) {
            self.store = None;
            return self.write_once();
        }
        written
    }

    fn write_once(&mut self) -> Result<(), StoreError> {
        let now_millis = clock::unix_millis();
        let store = match &mut self.store {
            Some(store) => store,
            None => {
                let Settings { folder, limits, .. } = &self.settings;
                let opened = Store::open(folder, *limits, now_millis);
                if let Err(error) = &opened
                    && error.is_final()
                {
                    self.is_over = Some(in_words(error));
                    lock(&self.shared.pending).turn_off();
                }
                self.store.insert(opened?)
            }
        };
        let blocks = lock(&self.shared.pending).take();
        let written = store.append(&blocks, now_millis);
        if written.is_err() {
            lock(&self.shared.pending).put_back(blocks);
        }
        let mut told = lock(&self.shared.told);
        told.extent = store.extent();
        let writes = std::iter::repeat_n(Moment::since_boot(), store.take_writes());
        told.writes.extend(writes);
        told.forget_old_writes();
        written
    }
}

/// The next word; none where it is time to write. Nobody is left to say anything in the end.
fn next(words: &Receiver<Word>, due: Option<Moment>) -> Result<Option<Word>, RecvError> {
    let Some(due) = due else {
        return words.recv().map(Some);
    };
    let pause = due.millis_since(Moment::awake());
    match words.recv_timeout(Duration::from_millis(pause)) {
        Ok(word) => Ok(Some(word)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(RecvError),
    }
}

/// An error with its causes.
fn in_words(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}
