//! A phone with a running service, and an app on it that asks all the time.

use std::cell::RefCell;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use muzzle::firewall::Family;
use muzzle::queue::QueueSocket;

use crate::lab::{Daemon, Lab, SmallDisk, addresses};

/// From one question of the app to the next.
const BEAT: Duration = Duration::from_millis(10);

/// A phone with a running service, and what others hold of it.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) module: PathBuf,
    /// All that the service writes is on it.
    pub(crate) disk: SmallDisk,
    /// The rules of everybody else.
    pub(crate) before: String,
    pub(crate) other_queue: RefCell<Option<QueueSocket>>,
    pub(crate) tracer: RefCell<Option<JoinHandle<()>>>,
    pub(crate) lab: Lab,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        lab.own_tables_lock();
        let disk = lab.small_disk();
        let before = lab.saved_rules();
        let module = disk.path.join("module");
        std::fs::create_dir(&module).unwrap();
        let socket = disk.path.join("run/control.sock");
        let config = format!(
            "[control]\nsocket = \"{}\"\n[history]\ndirectory = \"{}\"\n",
            socket.display(),
            disk.path.join("history").display()
        );
        let log = disk.path.join("daemon.log");
        let daemon = lab.start_logging_service(&config, &module, &log, true);
        Self {
            daemon,
            module,
            disk,
            before,
            other_queue: RefCell::default(),
            tracer: RefCell::default(),
            lab,
        }
    }

    fn socket(&self) -> Option<UdpSocket> {
        let resolver = addresses(Family::V4).dns;
        self.lab.phone.within(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect((resolver, 53)).ok().map(|()| socket)
        })
    }

    /// The RCODE that an app is told; a query that is held is waited for.
    pub(crate) fn answers(&self, name: &str, patience: Duration) -> Option<u8> {
        let socket = self.socket()?;
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.send(&query(7, name)).ok()?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).ok()?;
        (length > 3).then(|| answer[3] & 0x0f)
    }

    /// An app begins to ask, and asks every 10 ms.
    pub(crate) fn begin_asking(&self) -> Asker {
        let socket = self.socket().unwrap();
        socket.set_read_timeout(Some(BEAT)).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = thread::spawn(move || ask(&socket, &stop));
        Asker { over, thread }
    }
}

/// A query with one question for an address.
pub(crate) fn query(id: u16, name: &str) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// An app that asks all the time.
pub(crate) struct Asker {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Question>>,
}

/// What became of its questions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// From the fault to the first answer to a question asked after it.
    pub(crate) first_answer: Option<Duration>,
    /// The longest that one of them waited for its answer.
    pub(crate) longest: Duration,
    /// How many were asked.
    pub(crate) asked: usize,
    /// How many got no answer.
    pub(crate) unanswered: usize,
}

impl Asker {
    /// It stops asking and waits a little for what is on its way.
    pub(crate) fn end(self, fault: Instant) -> Asked {
        self.over.store(true, Ordering::Relaxed);
        let questions = self.thread.join().unwrap();
        let answers = questions.iter().filter_map(|it| it.answered_after);
        let first_answer = questions
            .iter()
            .filter(|it| it.asked_at >= fault)
            .filter_map(|it| Some(it.asked_at + it.answered_after? - fault))
            .min();
        Asked {
            first_answer,
            longest: answers.clone().max().unwrap_or_default(),
            asked: questions.len(),
            unanswered: questions.len() - answers.count(),
        }
    }
}

struct Question {
    asked_at: Instant,
    answered_after: Option<Duration>,
}

fn ask(socket: &UdpSocket, over: &AtomicBool) -> Vec<Question> {
    // By id.
    let mut questions: Vec<Question> = Vec::new();
    let mut ended: Option<Instant> = None;
    let mut buffer = [0; 512];
    while ended.is_none_or(|ended| ended.elapsed() < Duration::from_secs(1)) {
        let beat = Instant::now();
        if over.load(Ordering::Relaxed) {
            ended.get_or_insert(beat);
        }
        // Where there is no interface nothing can be asked.
        let id = u16::try_from(questions.len()).unwrap();
        if ended.is_none() && socket.send(&query(id, "free.example")).is_ok() {
            questions.push(Question {
                asked_at: beat,
                answered_after: None,
            });
        }
        while beat.elapsed() < BEAT {
            let Ok(length) = socket.recv(&mut buffer) else {
                continue;
            };
            let id = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
            if length > 3
                && let Some(question) = questions.get_mut(id)
            {
                let waited = question.asked_at.elapsed();
                question.answered_after.get_or_insert(waited);
            }
        }
    }
    questions
}
