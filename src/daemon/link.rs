//! The line between supervisor and worker: a pair of connected sockets. The worker sends a
//! duplicate of each queue's socket and the word that it is ready; each side learns of the
//! other's death by the end of the line.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
};

use crate::decide::{Mode, UnixSeconds};
use crate::queue::QueueHandle;

/// One end of the line.
#[derive(Debug)]
pub(super) struct Link {
    fd: OwnedFd,
}

/// What the worker says.
#[derive(Debug)]
pub(super) enum Word {
    /// It has bound a queue; this is a duplicate of its socket.
    Queue(QueueHandle),
    /// Its chains are in force, in this mode; where there is a pause, until then everything passes.
    Ready(Mode, Option<UnixSeconds>),
    /// It is gone.
    End,
}

const READY: u8 = b'R';
const QUEUE: u8 = b'Q';
const ENFORCE: u8 = b'E';
const OBSERVE: u8 = b'O';
/// The word, the mode, and when a pause ends.
const READY_BYTES: usize = 2 + size_of::<i64>();

impl Link {
    /// Makes a line: the supervisor's end, and the worker's, which is to become its standard
    /// input.
    pub(super) fn pair() -> nix::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socket::socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        Ok((Self { fd: ours }, theirs))
    }

    /// The worker's end, which it was started with.
    pub(super) fn from_stdin() -> io::Result<Self> {
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self { fd })
    }

    /// Tells the supervisor of a queue and hands it a duplicate of its socket.
    pub(super) fn send_queue(&self, queue: &QueueHandle) -> nix::Result<()> {
        let [high, low] = queue.number().to_be_bytes();
        let word = [QUEUE, high, low];
        let descriptors = [queue.as_fd().as_raw_fd()];
        self.send(&word, &[ControlMessage::ScmRights(&descriptors)])
    }

    /// Tells the supervisor that the chains are in force, and how; may be told again when that
    /// changes.
    pub(super) fn send_ready(
        &self,
        mode: Mode,
        paused_until: Option<UnixSeconds>,
    ) -> nix::Result<()> {
        let mode = match mode {
            Mode::Enforce => ENFORCE,
            Mode::Observe => OBSERVE,
        };
        let mut word = [0; READY_BYTES];
        word[..2].copy_from_slice(&[READY, mode]);
        // Nobody pauses until 1970.
        let until = paused_until.map_or(0, |until| until.0);
        word[2..].copy_from_slice(&until.to_be_bytes());
        self.send(&word, &[])
    }

    fn send(&self, word: &[u8], attached: &[ControlMessage<'_>]) -> nix::Result<()> {
        let fd = self.fd.as_raw_fd();
        // MSG_NOSIGNAL: a supervisor that died is no reason to die of SIGPIPE.
        let flags = MsgFlags::MSG_NOSIGNAL;
        socket::sendmsg::<()>(fd, &[IoSlice::new(word)], attached, flags, None).map(drop)
    }

    /// For the worker to wait for the supervisor's end: it never says anything, so the stream
    /// becomes readable only then.
    pub(super) fn stream(&self) -> io::Result<tokio::net::UnixStream> {
        let stream = std::os::unix::net::UnixStream::from(self.fd.try_clone()?);
        stream.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(stream)
    }

    /// The worker's next word, as far as one has come; `None` where none has.
    pub(super) fn receive(&self) -> nix::Result<Option<Word>> {
        let mut word = [0; 2 * READY_BYTES];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let mut parts = [IoSliceMut::new(&mut word)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let fd = self.fd.as_raw_fd();
        let message = match socket::recvmsg::<()>(fd, &mut parts, Some(&mut space), flags) {
            Ok(message) => message,
            Err(nix::errno::Errno::EAGAIN) => return Ok(None),
            // The worker died with words of ours unread; it never gets any, but EOF is EOF.
            Err(nix::errno::Errno::ECONNRESET) => return Ok(Some(Word::End)),
            Err(errno) => return Err(errno),
        };
        let length = message.bytes;
        let descriptor = message.cmsgs()?.find_map(|attached| match attached {
            ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
            _ => None,
        });
        Ok(Some(match (&word[..length], descriptor) {
            ([QUEUE, high, low], Some(descriptor)) => {
                let number = u16::from_be_bytes([*high, *low]);
                Word::Queue(QueueHandle::new(own(descriptor), number))
            }
            (&[READY, mode @ (ENFORCE | OBSERVE), ref until @ ..], None) => {
                let mode = match mode {
                    ENFORCE => Mode::Enforce,
                    _ => Mode::Observe,
                };
                let until = <[u8; 8]>::try_from(until).map_or(0, i64::from_be_bytes);
                Word::Ready(mode, (until != 0).then_some(UnixSeconds(until)))
            }
            _ => Word::End,
        }))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[allow(
    unsafe_code,
    reason = "recvmsg hands descriptors over as plain numbers"
)]
fn own(descriptor: std::os::fd::RawFd) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the kernel has just made this descriptor for this process by SCM_RIGHTS, and
    // nothing else knows its number.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
