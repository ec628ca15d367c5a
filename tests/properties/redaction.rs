//! No identifying literal of the input survives redaction, in whatever form programs and the
//! kernel print it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use muzzle::cli::doctor::redact::Redactor;
use proptest::prelude::*;

/// Text that stands around a value in what programs print.
const AROUND: [(&str, &str); 16] = [
    ("", ""),
    ("-A OUTPUT -d ", "/32 -j ACCEPT"),
    ("-A nat_pre -j DNAT --to-destination ", ":53"),
    (
        "[12:3456] -A x -m iprange --src-range ",
        "-10.0.0.9 -j DROP",
    ),
    ("9000:\tfrom ", " lookup wlan0"),
    ("inet6 addr: ", "/64 Scope:Global"),
    ("SRC=", " DST=10.0.0.1"),
    ("addr:", "  Bcast:10.255.255.255"),
    ("DnsAddresses: [ /", ",/10.0.0.1 ]"),
    ("[", "]"),
    ("(", "), then"),
    ("\"", "\""),
    ("to:", ":443 "),
    ("udp://", "."),
    ("key=value;", ";"),
    ("dev wlan0 proto kernel src ", " metric 100 \t\u{1b}[0m"),
];

/// An address that tells one phone from another, told apart by other means than the code's.
fn public_v4() -> impl Strategy<Value = Ipv4Addr> {
    let first = prop_oneof![
        11_u8..100,
        128_u8..169,
        173_u8..192,
        193_u8..198,
        199_u8..223
    ];
    (first, any::<[u8; 3]>())
        .prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d))
        .prop_filter("a resolver that everybody uses", |it| {
            !["114.114.114.114", "119.29.29.29"].contains(&it.to_string().as_str())
        })
        .prop_filter("223.5.5.5", |it| it.octets()[0] != 223)
}

/// Global, unique local and link-local ones with something in their interface id.
fn telling_v6() -> impl Strategy<Value = Ipv6Addr> {
    let prefix = prop_oneof![
        (0x2001_u16..0x3fff, any::<[u16; 3]>()).prop_map(|(a, [b, c, d])| [a, b, c, d]),
        Just([0xfe80, 0, 0, 0]),
        any::<[u16; 3]>().prop_map(|[b, c, d]| [0xfd12, b, c, d]),
    ];
    (prefix, any::<[u16; 4]>(), 1_u16..).prop_map(|([a, b, c, d], [e, f, g, h], some)| {
        Ipv6Addr::new(a, b, c, d, e, f, g | some, h)
    })
}

/// Every form in which the kernel and programs print it.
fn forms(address: IpAddr) -> Vec<String> {
    let words = |bytes: &[u8]| {
        let words = bytes.chunks_exact(4).map(|word| {
            let word = u32::from_ne_bytes(word.try_into().unwrap());
            format!("{word:08X}")
        });
        words.collect::<String>()
    };
    match address {
        IpAddr::V4(address) => {
            let octets = address.octets();
            vec![
                address.to_string(),
                format!("::ffff:{address}"),
                format!("64:ff9b::{address}"),
                // /proc/net/udp, /proc/net/route
                format!("{}:0035", words(&octets)),
                words(&octets),
            ]
        }
        IpAddr::V6(address) => {
            let bytes = address.octets();
            let segments = address.segments();
            let full = |width: usize| {
                let groups = segments.map(|it| format!("{it:0width$x}"));
                groups.join(":")
            };
            vec![
                address.to_string(),
                address.to_string().to_uppercase(),
                full(4),
                full(1),
                // /proc/net/udp6, /proc/net/if_inet6
                format!("{}:0035", words(&bytes)),
                format!("{:032x}", u128::from(address)),
            ]
        }
    }
}

fn redacted(text: &str) -> String {
    Redactor::new(&|_| false).text(text)
}

/// What of `form` may not be in the output: the whole, but for a port behind it.
fn literal(form: &str) -> String {
    form.strip_suffix(":0035").unwrap_or(form).to_lowercase()
}

proptest! {
    #[test]
    fn no_public_address_survives_in_any_form(
        address in prop_oneof![public_v4().prop_map(IpAddr::V4), telling_v6().prop_map(IpAddr::V6)],
        (before, after) in prop::sample::select(&AROUND[..]),
    ) {
        for form in forms(address) {
            let out = redacted(&format!("{before}{form}{after}\n"));
            prop_assert!(!out.to_lowercase().contains(&literal(&form)), "{form}: {out}");
            prop_assert!(
                !out.contains(&address.to_string()),
                "{form}: {out}"
            );
        }
    }

    #[test]
    fn an_address_has_the_same_placeholder_in_every_form(address in public_v4()) {
        let [plain, mapped, _, proc, _] = <[String; 5]>::try_from(forms(address.into())).unwrap();
        let out = redacted(&format!("{plain} {mapped} {proc}"));
        prop_assert_eq!(out, "v4-public-1 v4-public-1 v4-public-1:0035");
    }

    #[test]
    fn no_hardware_address_survives(
        mac in any::<[u8; 6]>(),
        separator in prop::sample::select(&[":", "-"][..]),
        (before, after) in prop::sample::select(&AROUND[..]),
    ) {
        let mac = mac.map(|it| format!("{it:02x}")).join(separator);
        for mac in [mac.to_uppercase(), mac] {
            let out = redacted(&format!("{before}{mac}{after}"));
            prop_assert!(!out.contains(&mac), "{out}");
        }
    }

    #[test]
    fn no_long_number_or_id_survives(
        digits in "[0-9]{14,20}|[0-9a-f]{16,40}",
        (before, after) in prop::sample::select(&AROUND[..]),
    ) {
        let out = redacted(&format!("{before}{digits}{after}"));
        prop_assert!(!out.contains(&digits), "{out}");
    }

    #[test]
    fn no_name_or_account_survives(
        name in "([a-z][a-z0-9_-]{0,8}[a-z0-9]\\.){1,4}[a-z][a-z0-9]{1,8}",
        user in "[a-z0-9.]{0,5}[a-z0-9]",
        (before, after) in prop::sample::select(&AROUND[..]),
    ) {
        // Names of files end so.
        prop_assume!(!["toml", "log", "lock", "gz", "conf", "list", "sock"]
            .iter()
            .any(|suffix| name.ends_with(suffix)));
        for name in [name.to_uppercase(), format!("*.{name}"), format!("{user}@{name}"), name] {
            let out = redacted(&format!("{before}{name}{after}"));
            prop_assert!(!out.contains(name.trim_start_matches("*.")), "{out}");
        }
    }

    #[test]
    fn no_free_text_of_a_rule_survives(
        text in "[a-zA-Z0-9 '\\\\\"]{5,20}",
        option in prop::sample::select(
            &["comment --comment", "string --string", "x --nflog-prefix", "y --unknown"][..]
        ),
    ) {
        // As iptables-save writes it.
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        for counters in ["", "[1:2] "] {
            let rule = format!("{counters}-A x -m {option} \"{quoted}\" -j ACCEPT");
            let out = redacted(&rule);
            prop_assert!(!out.contains(&quoted), "{out}");
            prop_assert!(out.starts_with(counters) && out.ends_with("TEXT-1 -j ACCEPT"), "{out}");
        }
    }

    #[test]
    fn no_constant_of_a_u32_expression_survives(address in public_v4()) {
        let value = u32::from(address);
        prop_assume!(value.trailing_zeros() < 8);
        let rule = format!("-A OUTPUT -m u32 --u32 \"0xc&0xffffff00={value:#x}:{value:#x}\" -j DROP");
        prop_assert_eq!(
            redacted(&rule),
            "-A OUTPUT -m u32 --u32 \"0xc&0xffffff00=value-1:value-1\" -j DROP"
        );
    }

    #[test]
    fn known_values_go_wherever_they_stand(secret in "[a-zA-Z0-9]{4,20}", before in ".{0,9}") {
        let is_public = |_: &str| true;
        let mut redactor = Redactor::new(&is_public);
        redactor.hide("serial", &format!("{secret}\n"));
        let out = redactor.text(&format!("{before}{}_x", secret.to_uppercase()));
        prop_assert!(!out.to_lowercase().contains(&secret.to_lowercase()), "{out}");
    }

    /// Whatever it is, nothing that reads as a telling address is left, and nothing that a
    /// terminal would obey.
    #[test]
    fn any_text_is_redacted_whole(text in "[ -~\\n:.0-9a-f\u{0}-\u{1f}é]{0,60}") {
        let out = redacted(&text);
        assert_nothing_telling(&out);
    }
}

#[track_caller]
fn assert_nothing_telling(out: &str) {
    assert!(
        !out.contains(|c: char| c.is_control() && !"\n\t".contains(c)),
        "{out:?}"
    );
    let words = out.split(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.');
    for address in words.filter_map(|word| word.parse::<IpAddr>().ok()) {
        match address {
            IpAddr::V4(it) => {
                let first = it.octets()[0];
                let is_known = ["8.8", "1.1", "1.0", "9.9", "114.", "223.", "119."]
                    .iter()
                    .any(|start| it.to_string().starts_with(start));
                let is_free = it.is_private() || it.is_loopback() || it.is_link_local();
                assert!(
                    is_free
                        || is_known
                        || first == 0
                        || first == 100
                        || first == 192
                        || first > 223,
                    "{it} in {out:?}"
                );
            }
            IpAddr::V6(it) => {
                let middle = &it.segments()[2..7];
                assert!(
                    middle.iter().all(|&it| it == 0) || it.to_ipv4_mapped().is_some(),
                    "{it}"
                );
            }
        }
    }
}

#[test]
fn what_helps_is_left() {
    for line in [
        "-A OUTPUT ! -o lo -m mark --mark 0x8000000/0x8000000 -j DROP",
        "[12345678:123456789012] -A tc_limiter_OUTPUT -m owner --uid-owner 0-4294967294 -j RETURN",
        ":OUTPUT ACCEPT [12345678:9876543210]",
        "-A POSTROUTING -s 192.168.43.0/24 -o rmnet_data0 -j MASQUERADE",
        "-A PREROUTING -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT",
        "-A INPUT -s 100.64.0.0/255.192.0.0 -j ACCEPT",
        "-A OUTPUT -s ::1/128 -j DROP",
        "-A bw_INPUT -m bpf --object-pinned /sys/fs/bpf/netd_shared/prog_netd_skfilter_xtbpf",
        "10000:\tfrom all fwmark 0xc0000/0xd0000 lookup legacy_system",
        "iptables v1.8.7 (legacy)",
        "muzzle.toml:129: mode must be one of enforce, observe",
        "v4-rmnet_data0: up, flags 0x10c1, mtu 1472",
        "10: wlan0    inet 10.0.0.2/24 brd 10.0.0.255 scope global wlan0",
        "-A muzzle_out -m u32 --u32 \"0x0>>0x16&0x3c@0x0=0x47455420\" -j NFQUEUE",
    ] {
        assert_eq!(redacted(line), line);
    }
}

#[test]
fn names_that_everybody_may_know_are_left() {
    let is_public = |name: &str| name == "mistat.xiaomi.com";
    let mut redactor = Redactor::new(&is_public);
    assert_eq!(
        redactor.text("*.mistat.xiaomi.com Data.Mistat.xiaomi.com mistat.xiaomi.com."),
        "*.mistat.xiaomi.com NAME-1 mistat.xiaomi.com."
    );
}

/// Found by fuzzing.
#[test]
fn what_only_resembles_an_expression_is_not_told() {
    let out = redacted("-A x -m u32 --u32 0x0=3202::F -j DROP");
    assert_eq!(out, "-A x -m u32 --u32 TEXT-1 -j DROP");
}

#[test]
fn nothing_is_left_that_a_terminal_obeys() {
    for (line, expected) in [
        // Found by fuzzing; an expression of our own is kept as it is.
        ("-A --u32 \0", "-A --u32 TEXT-1"),
        (
            "-A muzzle_out -m u32 --u32 \u{1b}[2J",
            "-A muzzle_out -m u32 --u32 ?[2J",
        ),
        ("\u{1b}]0;title\u{7}\ttext\r", "?]0;title?\ttext?"),
    ] {
        assert_eq!(redacted(line), expected, "{line:?}");
    }
}

/// Found by fuzzing: what goes on behind the colons is too long for a group.
#[test]
fn an_address_that_goes_on_as_something_else_does_not_survive() {
    let out = redacted("10:2410:10:102::AA5f2f4f.:");
    assert!(!out.contains("2410:10:102"), "{out}");
    assert_nothing_telling(&out);
}
