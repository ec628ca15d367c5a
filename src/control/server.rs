//! The daemon's end of the control socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::lock::InstanceLock;
use super::protocol::{
    Body, Call, Changed, MAX_REQUEST_BYTES, Reply, Request, Status, VERSION,
};
use crate::apps::Packages;
use crate::choices::Change;
use crate::history;
use crate::record::{Entry, Log};

/// Clients served side by side; the page, a terminal or two.
const MAX_CLIENTS: usize = 16;

/// What only the daemon itself can do, with the way to answer.
#[derive(Debug)]
pub enum Order {
    /// Tell how you are.
    Status(oneshot::Sender<Status>),
    /// Reload; the sentence for the user.
    Reload(oneshot::Sender<Result<String, String>>),
    /// Change what is decided by command; or why that cannot be.
    Change(Change, oneshot::Sender<Result<Changed, String>>),
}

/// What clients are served from without asking the daemon.
#[derive(Clone, Debug)]
pub struct Served {
    /// The newest records.
    pub log: Arc<Log>,
    /// What is kept on the disk, where anything is.
    pub history: Option<Arc<history::Writer>>,
    /// For telling apps by name.
    pub packages: Arc<ArcSwap<Packages>>,
}

/// A bound control socket. Its file goes when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds the socket, 0600, in a folder that is made where it is missing. A file left by a
    /// killed daemon is replaced: the caller holds the instance lock.
    ///
    /// # Errors
    /// Those of mkdir(2), bind(2) and chmod(2).
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            InstanceLock::make_folder(folder)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Nobody else may connect between bind and chmod, whatever the umask was.
        let umask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(path);
        nix::sys::stat::umask(umask);
        let socket = Self {
            listener: listener?,
            path: path.to_owned(),
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(socket)
    }

    /// Serves clients until the task is dropped. Runs on a `LocalSet`.
    pub async fn serve(self, served: Served, orders: mpsc::Sender<Order>) {
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors, most likely; the pause keeps this from spinning.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                // It fits into an empty socket's buffer; who does not read it is gone anyway.
                let _told = stream.try_write(&too_many());
                continue;
            };
            let client = Client {
                served: served.clone(),
                orders: orders.clone(),
            };
            tokio::task::spawn_local(async move {
                // A client that went away in the middle is no concern of the daemon's.
                let _gone = client.converse(stream).await;
                drop(place);
            });
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.path);
    }
}

struct Client {
    served: Served,
    orders: mpsc::Sender<Order>,
}

impl Client {
    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut reader = BufReader::new(read);
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut reader).take(MAX_REQUEST_BYTES);
            if limited.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') {
                let message =
                    format!("a request is one line of at most {MAX_REQUEST_BYTES} bytes");
                return say(&mut write, Body::Error(message)).await;
            }
            match serde_json::from_slice::<Request>(&line) {
                Ok(Request { v: VERSION, call }) => {
                    self.answer(call, &mut reader, &mut write).await?;
                }
                Ok(Request { v, .. }) => {
                    let message = format!(
                        "this daemon speaks protocol version {VERSION}, not {v}; use the muzzle \
                         program that belongs to it"
                    );
                    say(&mut write, Body::Error(message)).await?;
                }
                Err(error) => {
                    say(&mut write, Body::Error(format!("not a request: {error}"))).await?;
                }
            }
        }
    }

    async fn answer(
        &self,
        call: Call,
        reader: &mut BufReader<OwnedReadHalf>,
        write: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        let body = match call {
            Call::Status => self
                .order(Order::Status)
                .await
                .map_or_else(stopping, |status| Body::Status(Box::new(status))),
            Call::Reload => match self.order(Order::Reload).await {
                Some(Ok(message)) => Body::Done(message),
                Some(Err(message)) => Body::Error(message),
                None => stopping(),
            },
            Call::Change(change) => {
                let order = |answer| Order::Change(change, answer);
                match self.order(order).await {
                    Some(Ok(changed)) => Body::Changed(Box::new(changed)),
                    Some(Err(message)) => Body::Error(message),
                    None => stopping(),
                }
            }
            Call::Flush => match self.flush().await {
                Ok(()) => Body::Done(String::new()),
                Err(message) => Body::Error(message),
            },
            Call::Log { recent, follow } => {
                return self.log(recent, follow, reader, write).await;
            }
        };
        say(write, body).await
    }

    async fn flush(&self) -> Result<(), String> {
        match &self.served.history {
            Some(history) => history.flush().await,
            None => Err(
                "no history is kept; a warning of `muzzle status` says why, unless \
                         [history] enabled is false"
                    .to_owned(),
            ),
        }
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.orders.send(order(sender)).await.ok()?;
        receiver.await.ok()
    }

    async fn log(
        &self,
        recent: usize,
        follow: bool,
        reader: &mut BufReader<OwnedReadHalf>,
        write: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        let mut position = self.served.log.position(recent);
        for entry in position.recent {
            say(write, self.told(&entry)).await?;
        }
        if !follow {
            return say(write, Body::Done(String::new())).await;
        }
        loop {
            let body = tokio::select! {
                entry = position.following.recv() => match entry {
                    Ok(entry) => self.told(&entry),
                    Err(RecvError::Lagged(missed)) => Body::Missed(missed),
                    Err(RecvError::Closed) => return say(write, stopping()).await,
                },
                // A follower says nothing more; whatever comes is its hanging up.
                _ = reader.fill_buf() => return Ok(()),
            };
            say(write, body).await?;
        }
    }

    fn told(&self, entry: &Entry) -> Body {
        Body::Record(entry.record(&self.served.packages.load()))
    }
}

/// The line for whoever finds every place taken.
fn too_many() -> Vec<u8> {
    let message = format!("{MAX_CLIENTS} clients are talking to the daemon already; end one");
    let body = Body::Error(message);
    let mut line = serde_json::to_vec(&Reply { v: VERSION, body }).unwrap_or_default();
    line.push(b'\n');
    line
}

fn stopping() -> Body {
    Body::Error("the daemon is stopping".into())
}

async fn say(write: &mut OwnedWriteHalf, body: Body) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Reply { v: VERSION, body })?;
    line.push(b'\n');
    write.write_all(&line).await
}
