//! One `[[answer]]`, as written.

use super::meant::EndpointAnswer;
use super::reader::Section;
use super::written::{CONNECTION_ENDS, DNS_ANSWERS};
use crate::act::{ConnectionRefusal, DnsRefusal};
use crate::apps::PackageName;
use crate::decide::NamePattern;

/// For questions, for connections.
type Told = (Option<DnsRefusal>, Option<ConnectionRefusal>);

/// Reads one; `None` where it is too wrong to be one. Whatever is wrong is reported.
pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Option<EndpointAnswer> {
    for key in ["name", "answer"] {
        if !section.has(key) {
            section.report(format!("this answer has no {key}: write {key} = \"…\""));
        }
    }
    let name = section.parse("name", NamePattern::from_text);
    let app = section.parse("app", PackageName::from_text);
    let answer = section.word("answer", &words());
    let (name, (dns, connections)) = name.zip(answer)?;
    Some(EndpointAnswer {
        name,
        app,
        dns,
        connections,
    })
}

/// `drop` is a word of both: it is for both.
fn words() -> [(&'static str, Told); 6] {
    let [nxdomain, nodata, zero, refused, drop] = DNS_ANSWERS;
    let [reset, drop_too] = CONNECTION_ENDS;
    let dns = |(word, refusal)| (word, (Some(refusal), None));
    [
        dns(nxdomain),
        dns(nodata),
        dns(zero),
        dns(refused),
        (reset.0, (None, Some(reset.1))),
        (drop.0, (Some(drop.1), Some(drop_too.1))),
    ]
}
