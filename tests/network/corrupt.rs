//! Config or catalogue are damaged while the daemon runs, and its worker fails before they are
//! mended: nothing is held up, and what is wrong is said plainly.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::{Lab, send, wait_for};
use crate::recovery::{blocks_again, passes_in_both};
use crate::running::{ask, config};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_worker_that_meets_a_damaged_file_stays_off_until_it_is_mended() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let module = lab.folder().join("module");
    let catalogue = lab.folder().join("catalogue");
    for folder in [&module, &catalogue] {
        fs::create_dir(folder).expect("the lab's folder is there");
    }
    let script = "printf '%s: %s\\n' \"$1\" \"$2\" >>\"${0%/*}/told\"\n";
    fs::write(module.join("description.sh"), script).expect("just made");
    let entries = catalogue.join("entries.toml");
    fs::write(
        &entries,
        include_str!("../../config/catalogue/mi-stat.toml"),
    )
    .expect("just made");
    let good = config(
        &lab,
        &format!("[catalogue]\ndirectory = \"{}\"", catalogue.display()),
    );
    let daemon = lab.start_service(&good, &module);
    let whole = fs::read(&entries).expect("just written");
    let config_file = daemon.config.clone();
    // As a write that was cut short leaves them.
    for (file, whole) in [(&config_file, good.as_bytes()), (&entries, &whole[..])] {
        fs::write(file, &whole[..whole.len() - 9]).expect("it is there");
        let told = fs::read_to_string(module.join("told"))
            .unwrap_or_default()
            .lines()
            .count();
        send(daemon.worker(), Signal::SIGKILL);
        passes_in_both(&lab);
        wait_for("it to say so", SOON, || {
            let text = fs::read_to_string(module.join("told")).unwrap_or_default();
            let last = text.lines().skip(told).last().unwrap_or_default();
            last.starts_with("off: the config or the catalogue is wrong")
        });
        let said = ask(
            &lab,
            &daemon,
            &format!("status --socket {}", daemon.socket.display()),
        );
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("is off"), "{said:?}");
        assert!(
            daemon.log().contains(&format!("{}:", file.display())),
            "{}",
            daemon.log()
        );
        assert_eq!(lab.saved_rules(), before);
        passes_in_both(&lab);
        fs::write(file, whole).expect("it is there");
        ask(&lab, &daemon, "reload").ok();
        blocks_again(&lab, &daemon);
    }
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
}
