//! Any bytes as the payload of a block, behind a sum that is right: reading ends and does not panic,
//! and what was read can be shown, counted and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muzzle::history::block::{self, About, HEADER_BYTES, Header};
use muzzle::history::{Query, Records, Tally, rows};

fuzz_target!(|bytes: &[u8]| {
    let _found = block::find(bytes);
    let about = About {
        first: 1,
        count: 1000,
        from_millis: 0,
        to_millis: u64::MAX,
    };
    let whole = block::block(&about, |out| out.extend_from_slice(bytes));
    let header = Header::read(&whole).unwrap();
    let payload = &whole[HEADER_BYTES..];
    assert!(header.fits(payload));
    assert_eq!(block::find(&whole), Some((0, header)));
    if let Ok(records) = Records::read(header, payload) {
        let mut tally = Tally::default();
        let mut decisions = 0;
        for record in records.iter().flatten() {
            let owned = record.to_record();
            let query = Query { app: owned.app.clone(), ..Query::default() };
            assert_eq!(query.fits(&record), query.fits_record(&owned));
            tally.add(&record);
            decisions += 1;
        }
        let counted: u64 = tally.rows().iter().map(|row| row.decisions).sum();
        assert_eq!(counted, decisions);
    }
    let _rows = rows(payload);
});
