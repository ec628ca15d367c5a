//! The daemon's own log: logcat on Android, standard error elsewhere. `RUST_LOG` sets the level.

/// Starts logging. A second call changes nothing.
#[cfg(target_os = "android")]
pub(super) fn start() {
    let config = android_logger::Config::default()
        .with_tag("muzzle")
        .with_max_level(log::LevelFilter::Info);
    android_logger::init_once(config);
}

/// Starts logging. A second call changes nothing.
#[cfg(not(target_os = "android"))]
pub(super) fn start() {
    use std::io::Write;

    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    let _already_started = env_logger::Builder::new()
        .parse_filters(&filter)
        .format(|out, record| writeln!(out, "muzzle: {}: {}", record.level(), record.args()))
        .try_init();
}
