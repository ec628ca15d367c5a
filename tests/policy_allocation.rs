//! `Policy::decide` does not allocate, whatever decides.
#![allow(unsafe_code, reason = "an allocator that counts has to be one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use muzzle::apps::Packages;
use muzzle::catalogue::{Catalogue, Category, Confidence, Endpoint, Pattern, Preset};
use muzzle::config::Config;
use muzzle::decide::{
    Action, Evidence, Facts, FlowKey, Mode, Policy, Protocol, Uid, UnixSeconds,
};
use muzzle::parse::DomainName;

thread_local! {
    /// Of this thread only: the test harness allocates in its own.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System.alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn decide_does_not_allocate() {
    let policy = policy();
    let names = [
        "a.block.test",
        "essential.test",
        "rule.test",
        "x.y.z.unlisted.test",
    ]
    .map(|name| DomainName::from_text(name).unwrap());
    let mut decided = Vec::with_capacity(64);
    let before = ALLOCATIONS.get();
    for name in &names {
        for evidence in [
            Evidence::Question { name, qtype: 1 },
            Evidence::Alias {
                name,
                asked: name,
                qtype: 1,
            },
            Evidence::Sni(name),
            Evidence::Unnamed,
            Evidence::Syn { name_follows: true },
        ] {
            for uid in [None, Some(Uid(10_101))] {
                decided.push(policy.decide(&facts(uid, evidence), UnixSeconds(0)));
            }
        }
    }
    let allocations = ALLOCATIONS.get() - before;
    assert_eq!(allocations, 0);
    let reasons: std::collections::HashSet<_> =
        decided.iter().map(|decision| decision.reason).collect();
    assert_eq!(
        reasons.len(),
        6,
        "every kind of decision was made: {reasons:?}"
    );
}

fn facts(uid: Option<Uid>, evidence: Evidence<'_>) -> Facts<'_> {
    Facts {
        flow: FlowKey {
            protocol: Protocol::Tcp,
            local: SocketAddr::from(([10, 0, 0, 2], 40_000)),
            remote: SocketAddr::from(([198, 51, 100, 9], 443)),
        },
        attribution: uid.into(),
        evidence,
    }
}

fn policy() -> Policy {
    let rules = "[[rule]]\nname = \"*.rule.test\"\naction = \"block\"\n\
                 [[rule]]\napp = \"com.a\"\naction = \"log\"\n\
                 [[rule]]\naddress = \"203.0.113.0/24\"\naction = \"block\"\n";
    let rules = Config::parse("rules", rules).expect("good rules").rules;
    let name = |text| DomainName::from_text(text).expect("a good name");
    let range = "198.51.100.0/24".parse().expect("a good range");
    let endpoints = vec![
        endpoint(
            Pattern::Suffix(name("block.test")),
            Category::Ads,
            Action::Block,
        ),
        endpoint(
            Pattern::Exact(name("essential.test")),
            Category::Essential,
            Action::Allow,
        ),
        endpoint(Pattern::Range(range), Category::Httpdns, Action::Block),
    ];
    Policy::compile(
        Mode::Enforce,
        Preset::Standard,
        &rules,
        Arc::new(Catalogue { endpoints }),
        &Packages::parse("com.a 10101 0\n"),
    )
}

fn endpoint(pattern: Pattern, category: Category, action: Action) -> Endpoint {
    Endpoint {
        pattern,
        owner: String::new(),
        system: String::new(),
        region: String::new(),
        category,
        action,
        confidence: Confidence::High,
        ports: Vec::new(),
        breaks: String::new(),
        sources: Vec::new(),
    }
}
