//! A device that goes online through the phone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use muzzle::firewall::Family;

use super::{Finished, Lab, Namespace, addresses, words};

/// See [`Lab::tether`].
pub(crate) struct Client {
    /// Runs its programs.
    pub(crate) namespace: Namespace,
}

impl Lab {
    /// Turns the phone's hotspot on and lets a client in.
    pub(crate) fn tether(&self) -> Client {
        let name = self.phone.name().replace("phone", "client");
        let namespace = Namespace::new(&name);
        namespace.set_resolver(addresses(Family::V4).dns);
        self.phone.ip(&format!(
            "link add ap0 type veth peer name eth0 netns {name}"
        ));
        for (namespace, device) in [(&self.phone, "ap0"), (&namespace, "eth0")] {
            namespace.write_sysctl(&format!("net/ipv6/conf/{device}/accept_dad"), "0");
        }
        self.phone.ip_batch(
            "link set ap0 up
             addr add 10.99.0.1/24 dev ap0
             addr add fd99::1/64 dev ap0 nodad
             addr add 2001:db8:99::1/64 dev ap0 nodad",
        );
        namespace.ip_batch(
            "link set lo up
             link set eth0 up
             addr add 10.99.0.2/24 dev eth0
             addr add fd99::2/64 dev eth0 nodad
             route add default via 10.99.0.1
             -6 route add default via fd99::1",
        );
        self.phone.write_sysctl("net/ipv4/ip_forward", "1");
        self.phone.write_sysctl("net/ipv6/conf/all/forwarding", "1");
        Client { namespace }
    }
}

impl Client {
    /// Its address, as the phone sees it.
    pub(crate) fn address(family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 99, 0, 2).into(),
            Family::V6 => Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2).into(),
        }
    }

    /// The address that it has instead in IPv6 from now on: one that needs no translation, as
    /// phones give it to their clients.
    pub(crate) fn use_global_address(&self, lab: &Lab) -> IpAddr {
        self.namespace
            .ip("addr add 2001:db8:99::2/64 dev eth0 nodad");
        self.namespace.ip("-6 route del default");
        self.namespace
            .ip("-6 route add default via 2001:db8:99::1 src 2001:db8:99::2");
        lab.internet
            .ip("-6 route add 2001:db8:99::/64 via 2001:db8:77::2");
        Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 2).into()
    }

    /// Runs a command on it and waits for that. Words are split at blanks.
    pub(crate) fn run(&self, line: &str) -> Finished {
        Finished::of(line, words(&self.namespace, line))
    }

    /// What `resolver` answers it of `name`'s addresses; empty where it says nothing.
    pub(crate) fn dig(&self, resolver: IpAddr, name: &str, options: &str) -> String {
        let line = format!("dig +tries=1 +time=1 +short {options} @{resolver} {name} A");
        let told = self.run(&line);
        // 9: no answer; dig says so on standard output.
        if told.code == Some(9) {
            String::new()
        } else {
            told.ok()
        }
    }
}
