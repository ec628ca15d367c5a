//! The history's part of the daemon: its start, its settings, and what is said of it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::apps::Packages;
use crate::config::HistorySettings;
use crate::control::protocol::HistoryStatus;
use crate::history::{Limits, Reader, Settings, Writer};

/// How long the stop may wait for the last batch: a disk that hangs keeps no phone from its own.
const LAST_BATCH: Duration = Duration::from_secs(2);

/// The history, where one is kept. Without it Muzzle filters all the same.
pub(super) struct History {
    writer: Option<Arc<Writer>>,
    /// The number of the first record to come.
    pub(super) first: u64,
    settings: HistorySettings,
    /// Why there is none although there should be.
    trouble: Option<String>,
}

impl History {
    /// Begins where the history in the folder ends.
    pub(super) fn start(settings: &HistorySettings, packages: &Arc<ArcSwap<Packages>>) -> Self {
        let mut history = Self {
            writer: None,
            first: 1,
            settings: settings.clone(),
            trouble: None,
        };
        if !settings.enabled {
            return history;
        }
        let end = Reader::open(&settings.directory).and_then(|mut reader| reader.end());
        let started = end.map_err(anyhow::Error::from).and_then(|end| {
            history.first = end;
            Ok(Writer::start(meant(settings), packages)?)
        });
        match started {
            Ok(writer) => history.writer = Some(Arc::new(writer)),
            Err(error) => history.trouble = Some(format!("{error:#}")),
        }
        history
    }

    pub(super) fn writer(&self) -> Option<Arc<Writer>> {
        self.writer.clone()
    }

    /// Takes over what a reload may change.
    pub(super) fn set(&mut self, settings: &HistorySettings) {
        self.settings = settings.clone();
        if let Some(writer) = &self.writer {
            writer.set(meant(settings));
        }
    }

    /// Writes what is pending.
    pub(super) async fn stop(&self) {
        if let Some(writer) = &self.writer
            && tokio::time::timeout(LAST_BATCH, writer.flush())
                .await
                .is_err()
        {
            log::error!("the disk does not answer: the history lacks its last records");
        }
    }

    pub(super) fn status(&self) -> Option<HistoryStatus> {
        let health = self.writer.as_ref()?.health();
        Some(HistoryStatus {
            folder: self.settings.directory.clone(),
            records: health.extent.records,
            since_unix_millis: health.extent.since_millis,
            bytes: health.extent.bytes,
            writes_last_hour: health.writes_last_hour,
            pending_bytes: health.pending_bytes,
            lost: health.lost,
        })
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let health = self.writer.as_ref().map(|writer| writer.health());
        let health = health.unwrap_or_default();
        let trouble = health.trouble.as_ref().or(self.trouble.as_ref());
        let trouble = trouble.map(|trouble| format!("the history is not written: {trouble}"));
        let lost = (health.lost > 0).then(|| {
            format!(
                "{} records are missing in the history: the disk took none",
                health.lost
            )
        });
        let damaged = health.extent.damaged.iter().map(|path| {
            format!(
                "a file of the history was damaged and is set aside as {}; what could be read \
                 of it was kept",
                path.display()
            )
        });
        trouble.into_iter().chain(lost).chain(damaged).collect()
    }
}

fn meant(settings: &HistorySettings) -> Settings {
    let days = |days: u32| Duration::from_secs(u64::from(days) * 86_400);
    Settings {
        folder: settings.directory.clone(),
        limits: Limits {
            records: days(settings.records_days),
            counters: days(settings.counters_days),
            bytes: u64::from(settings.max_mib) << 20,
        },
        batch: settings.batch,
    }
}
