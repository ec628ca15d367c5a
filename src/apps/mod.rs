//! Which app a Linux user id belongs to, and which user id a socket.

pub mod inet_diag;
pub mod open_sockets;
pub mod packages;
pub mod proc_net;
pub mod processes;
pub mod sender;
pub mod uid;

pub use inet_diag::{DiagnosedSocket, SocketDiagnosis};
pub use open_sockets::OpenSocket;
pub use packages::{PackageName, PackageNameError, Packages};
pub use processes::Processes;
pub use uid::{AppId, UidKind, UserId};
