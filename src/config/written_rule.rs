//! One `[[rule]]`, as written.

use ipnet::IpNet;

use super::reader::Section;
use crate::apps::PackageName;
use crate::catalogue::PublicSuffix;
use crate::decide::{Action, NamePattern, Protocol, Rule, UnixSeconds};
use crate::parse::http::path_start;

/// Reads a rule; `None` where it is too wrong to be one. Whatever is wrong is reported.
pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Option<Rule> {
    let actions = [
        ("allow", Action::Allow),
        ("log", Action::Log),
        ("block", Action::Block),
    ];
    let conditions = ["name", "app", "address", "port", "path"];
    if !conditions.iter().any(|key| section.has(key)) {
        section.report(
            "this rule would decide everything: give it a name, an app, an address, a port or \
             a path",
        );
    }
    if !section.has("action") {
        section
            .report("this rule has no action: write action = \"allow\", \"log\" or \"block\"");
    }
    let action = section.word("action", &actions);
    let rule = Rule {
        name: section.parse("name", |text| name(text, action)),
        app: section.parse("app", PackageName::from_text),
        address: section.parse("address", address),
        port: port(section),
        protocol: section.word(
            "protocol",
            &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)],
        ),
        path: section.parse("path", path_start),
        until: section
            .moment("until")
            .map(|moment| UnixSeconds(moment.as_second())),
        comment: section.text("comment").unwrap_or_default(),
        ..Rule::new(action.unwrap_or(Action::Log))
    };
    action.map(|_| rule)
}

fn name(text: &str, action: Option<Action>) -> Result<NamePattern, String> {
    let pattern = NamePattern::from_text(text).map_err(|error| error.to_string())?;
    // Names that a company lets its customers use are not meant: a user may well refuse that
    // company.
    let suffix = || PublicSuffix::of(pattern.name());
    if action == Some(Action::Block) && suffix() == Some(PublicSuffix::Registry) {
        let name = pattern.name();
        return Err(format!(
            "blocking {name} would cut off everybody who has a name under it; name a host below it"
        ));
    }
    Ok(pattern)
}

/// `203.0.113.0/24`, or one address.
pub(crate) fn address(text: &str) -> Result<IpNet, String> {
    let wanted = "must be an address or a range, as in 203.0.113.7 or 2001:db8::/32";
    let range: IpNet = match text.parse::<std::net::IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => text.parse().map_err(|_| wanted.to_owned())?,
    };
    if range.trunc() == range {
        Ok(range)
    } else {
        Err(format!(
            "the range begins at {}; write that, or the one address without /{}",
            range.trunc(),
            range.prefix_len()
        ))
    }
}

fn port(section: &mut Section<'_, '_, '_>) -> Option<u16> {
    let port = section.number("port", 1..=65_535)?;
    if port == 53 {
        section.report(
            "this rule would never apply: port 53 is DNS, which is judged by name and app",
        );
    }
    Some(port)
}
