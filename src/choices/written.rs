//! The list as it is written: TOML, one `[[choice]]` each, with the keys of a `[[rule]]` and when it
//! was made.

use std::fmt::Write;

use super::{Choices, Decided, Target, What};
use crate::apps::PackageName;
use crate::clock;
use crate::config::Problems;
use crate::config::reader::{Section, Source};
use crate::decide::{Action, Rule, UnixSeconds};

const HEADING: &str = "\
# What was decided by command (muzzle allow, block, pause), the newest last. You may change or delete
# sections; `muzzle reload` reads them. With the next command Muzzle writes all of it anew, without
# comments of yours and without what has ended.
";

/// What an action may be.
#[derive(Clone, Copy)]
enum Word {
    Rule(Action),
    Pause,
}

impl Choices {
    /// Understands `text`; `file` is what problems call it.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let list = Source::read(file, text, |top| top.sections("choice", read))?;
        Ok(Self(list.into_iter().flatten().collect()))
    }

    /// The text of it. What [`Self::parse`] makes of it is the same again.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = HEADING.to_owned();
        for decided in &self.0 {
            // Writing to a text cannot fail.
            let _written = write(decided, &mut text);
        }
        text
    }
}

fn read(section: &mut Section<'_, '_, '_>) -> Option<Decided> {
    let words = [
        ("allow", Word::Rule(Action::Allow)),
        ("block", Word::Rule(Action::Block)),
        ("pause", Word::Pause),
    ];
    for key in ["made", "action"] {
        if !section.has(key) {
            section.report(format!("this choice has no {key}"));
        }
    }
    let made = moment(section, "made");
    let until = moment(section, "until");
    let what = match section.word("action", &words)? {
        Word::Pause => What::Pause {
            until: required(section, "until", until)?,
            boot_id: {
                let boot_id = section.parse("boot_id", boot_id);
                required(section, "boot_id", boot_id)?
            },
        },
        Word::Rule(action) => {
            if section.has("name") == section.has("address") {
                section.report("this choice must have either a name or an address");
            }
            let key = if section.has("name") {
                "name"
            } else {
                "address"
            };
            let target = section.parse(key, Target::from_text);
            let app = section.parse("app", PackageName::from_text);
            What::Rule(Rule {
                app,
                until,
                ..target?.rule(action)
            })
        }
    };
    Some(Decided { made: made?, what })
}

fn moment(section: &mut Section<'_, '_, '_>, key: &str) -> Option<UnixSeconds> {
    let moment = section.moment(key)?;
    Some(UnixSeconds(moment.as_second()))
}

fn required<T>(section: &mut Section<'_, '_, '_>, key: &str, value: Option<T>) -> Option<T> {
    if value.is_none() {
        section.report(format!("this pause has no {key}"));
    }
    value
}

/// Hex digits and hyphens (RFC 9562 section 4).
fn boot_id(text: &str) -> Result<String, &'static str> {
    let is_good = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    if text.len() <= 64 && text.bytes().all(is_good) {
        Ok(text.to_owned())
    } else {
        Err("this is no boot id of Linux")
    }
}

fn write(decided: &Decided, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n[[choice]]\nmade = {}", clock::rfc3339(decided.made))?;
    match &decided.what {
        What::Pause { until, boot_id } => {
            writeln!(
                out,
                "action = \"pause\"\nuntil = {}",
                clock::rfc3339(*until)
            )?;
            writeln!(out, "boot_id = \"{boot_id}\"")
        }
        What::Rule(rule) => {
            writeln!(out, "action = \"{}\"", rule.action)?;
            if let Some(name) = &rule.name {
                writeln!(out, "name = \"{name}\"")?;
            }
            if let Some(address) = &rule.address {
                writeln!(out, "address = \"{address}\"")?;
            }
            if let Some(app) = &rule.app {
                writeln!(out, "app = \"{app}\"")?;
            }
            match rule.until {
                Some(until) => writeln!(out, "until = {}", clock::rfc3339(until)),
                None => Ok(()),
            }
        }
    }
}
