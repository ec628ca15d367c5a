//! Which app a Linux user id belongs to.

pub mod packages;
pub mod uid;

pub use packages::{PackageName, PackageNameError, Packages};
pub use uid::{AppId, UidKind, UserId};
