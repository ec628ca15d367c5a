//! Android's setting "Private DNS", asked for where something depends on it: by the worker where
//! encrypted DNS is to fall back, and by the commands that tell people what Muzzle cannot see.

use std::future::pending;
use std::process::Command;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::decide::PrivateDns;
use crate::program::finish;

/// How long Android's `settings` may say nothing.
const SILENCE: Duration = Duration::from_secs(2);

/// Asks Android; waits for its answer.
///
/// # Errors
/// Why there is none: this is not Android, or it has not started yet.
pub(crate) fn ask() -> Result<PrivateDns, String> {
    let mode = setting("private_dns_mode")?;
    let default_mode = setting("private_dns_default_mode")?;
    Ok(PrivateDns::from_settings(&mode, &default_mode))
}

fn setting(name: &str) -> Result<String, String> {
    let mut command = Command::new("settings");
    command.args(["get", "global", name]);
    match finish(&mut command, "", SILENCE) {
        Ok(Some((status, text))) if status.success() => Ok(text),
        Ok(Some((status, text))) => Err(format!("settings: {status}: {}", text.trim())),
        Ok(None) => Err("settings: no answer".to_owned()),
        Err(error) => Err(format!("settings: {error}")),
    }
}

/// The setting as the worker knows it.
#[derive(Debug, Default)]
pub(super) struct Setting {
    known: PrivateDns,
    answer: Option<oneshot::Receiver<PrivateDns>>,
}

impl Setting {
    /// What is known so far.
    pub(super) const fn known(&self) -> PrivateDns {
        self.known
    }

    /// Asks again, unless an answer is still awaited. The thread may outlive the worker's end.
    pub(super) fn ask(&mut self) {
        if self.answer.is_some() {
            return;
        }
        let (sender, answer) = oneshot::channel();
        let ask = move || {
            let found =
                ask().inspect_err(|error| log::warn!("Private DNS is unknown: {error}"));
            let _worker_gone = sender.send(found.unwrap_or_default());
        };
        match std::thread::Builder::new()
            .name("private-dns".to_owned())
            .spawn(ask)
        {
            Ok(_detached) => self.answer = Some(answer),
            Err(error) => log::warn!("Private DNS is unknown: no thread ({error})"),
        }
    }

    /// Waits until it is another than it was. May be dropped and called again.
    pub(super) async fn changed(&mut self) -> PrivateDns {
        loop {
            let Some(answer) = &mut self.answer else {
                return pending().await;
            };
            let found = answer.await.unwrap_or_default();
            self.answer = None;
            if found != self.known {
                self.known = found;
                return found;
            }
        }
    }
}
