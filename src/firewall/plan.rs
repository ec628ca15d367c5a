//! The wanted chains as text. Pure: the shell ([`super::apply`]) only hands this text over.
//!
//! Rules are written in the very form in which `iptables -S` prints them, so that one text serves
//! as what is asked for and as what is expected when read back.

use ipnet::IpNet;

use super::expression;

/// Bit 27: Android's `Fwmark.h` calls bits 21-28 reserved, and no vendor rule was seen to use it.
pub const DEFAULT_MARK: u32 = 0x0800_0000;
/// Bit 26, for which the same holds.
pub const DEFAULT_FOLLOW_MARK: u32 = 0x0400_0000;
/// Our chain on the way out.
pub const CHAIN_OUT: &str = "muzzle_out";
/// Our chain on the way in.
pub const CHAIN_IN: &str = "muzzle_in";
/// Our chain for connections whose client has not said yet whom it talks to.
pub const CHAIN_CONT: &str = "muzzle_cont";
/// Our chain for what the phone passes on for others.
pub const CHAIN_FORWARD: &str = "muzzle_fwd";
/// Every chain whose name starts so is ours, whatever release made it.
pub const CHAIN_PREFIX: &str = "muzzle_";

/// An address family; each has its own program and its own tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4, `iptables`.
    V4,
    /// IPv6, `ip6tables`.
    V6,
}

impl Family {
    /// Both, in the order in which they are applied.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

impl std::fmt::Display for Family {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A netfilter table that holds a chain of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Before connection tracking; netd never touches its OUTPUT.
    Raw,
    /// netd never touches its PREROUTING, leaves the rules of others in its POSTROUTING, and empties
    /// its FORWARD when it starts.
    Mangle,
}

impl Table {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Raw, Self::Mangle];

    /// The name that `iptables -t` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
        }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

/// Which packets go to which queue, and what this kernel can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The mark that forged packets carry; exactly one bit.
    pub mark: u32,
    /// The mark of packets and connections whose client's first words are awaited; exactly one
    /// bit.
    pub follow_mark: u32,
    /// Queue of UDP and TCP port 53, and of answers.
    pub dns_queue: u16,
    /// Queue of TCP SYNs, TLS ClientHellos, HTTP requests and QUIC Initials.
    pub connection_queue: u16,
    /// Answers are looked at: [`CHAIN_IN`] is made.
    pub answers: bool,
    /// Ports on which a TLS ClientHello is looked for.
    pub tls_ports: Vec<u16>,
    /// Ports on which an HTTP/1.x request is looked for.
    pub http_ports: Vec<u16>,
    /// UDP ports on which a QUIC Initial is looked for.
    pub quic_ports: Vec<u16>,
    /// Addresses to which all of UDP is looked at, in both families.
    pub udp_ranges: Vec<IpNet>,
    /// The CT target exists: forged packets are kept out of connection tracking.
    pub notrack: bool,
    /// The conntrack match exists: only answers to the phone's own queries are queued.
    pub conntrack: bool,
    /// Connections can be marked: [`CHAIN_CONT`] is made.
    pub follow: bool,
    /// What the phone passes on for others is looked at: [`CHAIN_FORWARD`] is made.
    pub forwarded: bool,
    /// IPv6 is filtered too.
    pub ipv6: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            mark: DEFAULT_MARK,
            follow_mark: DEFAULT_FOLLOW_MARK,
            dns_queue: 5340,
            connection_queue: 5341,
            answers: true,
            tls_ports: vec![443],
            http_ports: vec![80],
            quic_ports: vec![443],
            udp_ranges: Vec::new(),
            notrack: true,
            conntrack: true,
            follow: true,
            forwarded: false,
            ipv6: true,
        }
    }
}

impl Plan {
    /// The families the plan covers.
    pub fn families(&self) -> &'static [Family] {
        if self.ipv6 {
            &Family::BOTH
        } else {
            &Family::BOTH[..1]
        }
    }

    /// The tables that hold a chain of the plan.
    pub fn tables(&self) -> &'static [Table] {
        if self.answers || self.follow || self.forwarded {
            &Table::ALL
        } else {
            &Table::ALL[..1]
        }
    }

    /// The chains wanted in one family.
    pub fn chains(&self, family: Family) -> Vec<WantedChain> {
        let outgoing = WantedChain {
            table: Table::Raw,
            hook: "OUTPUT",
            place: Place::First,
            name: CHAIN_OUT,
            rules: self.outgoing(family),
        };
        let inbound = self.answers.then(|| WantedChain {
            table: Table::Mangle,
            hook: "PREROUTING",
            place: Place::First,
            name: CHAIN_IN,
            rules: vec![self.answer("udp"), self.answer("tcp")],
        });
        let continued = self.follow.then(|| WantedChain {
            table: Table::Mangle,
            hook: "POSTROUTING",
            place: Place::Last,
            name: CHAIN_CONT,
            rules: self.continued(family),
        });
        let forwarded = self.forwarded.then(|| WantedChain {
            table: Table::Mangle,
            hook: "FORWARD",
            place: Place::Last,
            name: CHAIN_FORWARD,
            rules: self.passed_on(family),
        });
        std::iter::once(outgoing)
            .chain(inbound)
            .chain(continued)
            .chain(forwarded)
            .collect()
    }

    /// The rules of [`CHAIN_OUT`]: what is forged is dealt with first.
    fn outgoing(&self, family: Family) -> Vec<String> {
        let forged = format!("-m mark --mark {0:#x}/{0:#x}", self.mark);
        let mut rules = vec![format!("! -o lo {forged} -j DROP")];
        // CT goes on with the next rule, and `-o lo` then takes what is forged out of the chain.
        let keep = if self.notrack {
            "CT --notrack"
        } else {
            "RETURN"
        };
        rules.push(format!("{forged} -j {keep}"));
        rules.push("-o lo -j RETURN".to_owned());
        rules.extend(self.queued(family));
        rules
    }

    /// What is looked at of what is sent. The order is the meaning: NFQUEUE ends a packet's way
    /// through the table, so port 53 never reaches the SYN rule.
    fn queued(&self, family: Family) -> Vec<String> {
        let connections = queue(self.connection_queue);
        let mut rules = Vec::new();
        for protocol in ["udp", "tcp"] {
            let dns = queue(self.dns_queue);
            rules.push(format!("-p {protocol} -m {protocol} --dport 53 {dns}"));
        }
        rules.push(format!(
            "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN {connections}"
        ));
        let hello = expression::client_hello(family);
        let request = expression::http_request(family);
        for (ports, expression) in [(&self.tls_ports, hello), (&self.http_ports, request)] {
            for port in distinct(ports) {
                rules.push(format!(
                    "-p tcp -m tcp --dport {port} -m u32 --u32 \"{expression}\" {connections}"
                ));
            }
        }
        for port in distinct(&self.quic_ports) {
            for expression in expression::quic_initial(family) {
                rules.push(format!(
                    "-p udp -m udp --dport {port} -m u32 --u32 \"{expression}\" {connections}"
                ));
            }
        }
        let is_of_family = |range: &&IpNet| {
            matches!(
                (range, family),
                (IpNet::V4(_), Family::V4) | (IpNet::V6(_), Family::V6)
            )
        };
        for range in self.udp_ranges.iter().filter(is_of_family) {
            rules.push(format!("-d {range} -p udp {connections}"));
        }
        rules
    }

    /// The rules of [`CHAIN_CONT`]. The verdict on a SYN marks it, and so its connection; from
    /// then on all that its client says is queued, until the verdict on a later packet bears the
    /// mark and takes it from the connection again. Since the SYN comes before everything else,
    /// no packet slips through between a verdict and what follows from it.
    ///
    /// After NAT's destination and Android's own rules: conntrack is not there before, and what
    /// these refuse is not asked about.
    fn continued(&self, family: Family) -> Vec<String> {
        let mark = self.follow_mark;
        let marked = format!("-m mark --mark {mark:#x}/{mark:#x}");
        let syn = "--tcp-flags FIN,SYN,RST,ACK SYN";
        let mut rules = vec![
            // Nearly everything.
            format!("-m mark --mark 0x0/{mark:#x} -m connmark --mark 0x0/{mark:#x} -j RETURN"),
            format!("-p tcp -m tcp {syn} {marked} -j CONNMARK --set-xmark {mark:#x}/{mark:#x}"),
            format!("-p tcp -m tcp ! {syn} {marked} -j CONNMARK --set-xmark 0x0/{mark:#x}"),
            format!("{marked} -j RETURN"),
        ];
        rules.extend(self.followed(family));
        rules
    }

    /// What is looked at of connections whose client has not said yet whom it talks to.
    fn followed(&self, family: Family) -> [String; 2] {
        let followed = format!("-m connmark --mark {0:#x}/{0:#x}", self.follow_mark);
        let payload = expression::payload(family);
        let connections = queue(self.connection_queue);
        [
            // The end of what a client writes at once has this flag, however short it is.
            format!("-p tcp -m tcp --tcp-flags PSH PSH {followed} {connections}"),
            format!("-p tcp {followed} -m u32 --u32 \"{payload}\" {connections}"),
        ]
    }

    /// The rules of [`CHAIN_FORWARD`]. At this hook and at no other a packet is told for sure from
    /// the phone's own, and it still has its sender's address. A piece that leaves a connection
    /// undecided comes to [`CHAIN_CONT`] after this, is looked at again, and still passes.
    fn passed_on(&self, family: Family) -> Vec<String> {
        let mut rules = self.queued(family);
        if self.follow {
            rules.extend(self.followed(family));
        }
        rules
    }

    /// A rule of [`CHAIN_IN`]: one a protocol, for every packet that comes in passes them. Of TCP
    /// all segments, for an answer may be cut anywhere.
    fn answer(&self, protocol: &str) -> String {
        // Established only: strangers shall not fill the queue.
        let asked = if self.conntrack {
            "-m conntrack --ctstate ESTABLISHED "
        } else {
            ""
        };
        let queue = queue(self.dns_queue);
        format!("! -i lo -p {protocol} -m {protocol} --sport 53 {asked}{queue}")
    }
}

/// The target that hands a packet to queue `number`, and lets it pass where nobody listens.
fn queue(number: u16) -> String {
    format!("-j NFQUEUE --queue-num {number} --queue-bypass")
}

/// The ports in ascending order, each once: a second rule for a port could never match.
fn distinct(ports: &[u16]) -> Vec<u16> {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Where among a builtin chain's rules a jump stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before all others: what they accept must have been looked at.
    First,
    /// After all others: what is queued skips the rules that follow.
    Last,
}

/// A chain of ours as it should be: its rules, and the one jump that leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedChain {
    /// The table it is in.
    pub table: Table,
    /// The builtin chain that jumps to it.
    pub hook: &'static str,
    /// Where the jump stands.
    pub place: Place,
    /// Its name.
    pub name: &'static str,
    /// Its rules in order, as `iptables -S` prints them after `-A NAME `.
    pub rules: Vec<String>,
}

impl WantedChain {
    /// The jump as `iptables -S` prints it.
    pub fn jump(&self) -> String {
        format!("-A {} -j {}", self.hook, self.name)
    }

    /// The lines of `iptables -t TABLE -S` that are about this chain.
    pub fn saved(&self) -> Vec<String> {
        let rules = self
            .rules
            .iter()
            .map(|rule| format!("-A {} {rule}", self.name));
        [format!("-N {}", self.name), self.jump()]
            .into_iter()
            .chain(rules)
            .collect()
    }

    /// The `iptables-restore --noflush` batch that makes the table so, in one step for the
    /// kernel. `stale` are the jumps found there, as printed: they go, and one comes in its place.
    ///
    /// `:NAME` makes the chain or, where a killed daemon left it, empties it.
    pub fn batch(&self, stale: &[String]) -> String {
        let mut text = format!("*{}\n:{} - [0:0]\n", self.table, self.name);
        for rule in &self.rules {
            text.push_str(&format!("-A {} {rule}\n", self.name));
        }
        for jump in stale {
            text.push_str(&deletion(jump));
        }
        let insert = match self.place {
            Place::First => format!("-I {} 1", self.hook),
            Place::Last => format!("-A {}", self.hook),
        };
        text.push_str(&format!("{insert} -j {}\nCOMMIT\n", self.name));
        text
    }
}

/// The line that deletes the rule printed as `line` (`-A CHAIN …`).
pub(super) fn deletion(line: &str) -> String {
    format!("-D{}\n", line.strip_prefix("-A").unwrap_or(line))
}
