//! Tests against the real kernel, each in network namespaces of its own. They need root, legacy
//! iptables, iproute2, dnsmasq, dig, curl, openssl, conntrack, tcpdump and aioquic: `scripts/test.sh`
//! checks.

#![cfg(target_os = "linux")]

#[path = "../lab/mod.rs"]
mod lab;

mod answers;
mod answers_over_tcp;
mod apps;
mod bundle;
mod choices;
mod clients;
mod connections;
mod control;
mod corrupt;
mod disk_full;
mod dns;
mod dns_stream;
mod encrypted_dns;
mod endpoint_answers;
mod firewall;
mod firewall_trouble;
mod garbage;
mod history;
mod hotspot;
mod hotspot_states;
mod lifecycle;
mod load;
mod lock_held;
mod open;
mod other_queues;
mod power_loss;
mod prefilter;
mod quic;
mod recovery;
mod redirected;
mod replay;
mod reports;
mod resolvers;
mod running;
mod service;
mod supervisor;
mod system_dns;
mod trouble;
