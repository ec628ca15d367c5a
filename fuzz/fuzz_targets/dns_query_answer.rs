//! A DNS message: read it as an answer; forge every refusal of what it asks, and read each back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muzzle::act::{DnsRefusal, dns_answer};
use muzzle::parse::{dns::Query, dns_response::Response};

fuzz_target!(|message: &[u8]| {
    let response = Response::parse(message);
    if let Ok(response) = &response {
        for question in response.questions() {
            let mut aliases = response.aliases(&question.name);
            assert!(aliases.by_ref().count() <= 16);
            response.addresses(aliases.end(), |_, _| {});
        }
    }
    let query = Query::parse(message);
    // No message is both.
    let Ok(query) = query.or_else(|error| response.map_or(Err(error), |it| it.query())) else {
        return;
    };
    assert_eq!(
        query.questions().count(),
        usize::from(query.question_count())
    );
    let mut out = [0; 4096];
    for refusal in [
        DnsRefusal::Nxdomain,
        DnsRefusal::Nodata,
        DnsRefusal::Zero,
        DnsRefusal::Refused,
    ] {
        if let Some(length) = dns_answer::write(&query, refusal, 60, &mut out) {
            let answer = Response::parse(&out[..length]).unwrap();
            assert_eq!(answer.id(), query.id());
            assert!(answer.questions().eq(query.questions()));
        }
    }
});
