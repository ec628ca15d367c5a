//! A DNS message: parse it, forge every refusal of it, and read each back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muzzle::act::{DnsRefusal, dns_answer};
use muzzle::parse::{dns::Query, dns_response::Response};

fuzz_target!(|message: &[u8]| {
    if let Ok(response) = Response::parse(message) {
        assert!(response.names().count() <= 16);
    }
    let Ok(query) = Query::parse(message) else {
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
