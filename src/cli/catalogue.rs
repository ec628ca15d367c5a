//! `muzzle catalogue`: what Muzzle knows about endpoints, and where it knows it from.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{EXIT_FAILURE, EXIT_USAGE};
use crate::catalogue::{
    ACTION_WORDS, Catalogue, Category, Confidence, Endpoint, Format, Preset, export, lint, word,
};
use crate::config::Config;
use crate::decide::Action;
use crate::parse::DomainName;

/// Look into the catalogue of known endpoints.
///
/// Every entry says who runs the host, which part of the phone talks to it, what breaks when it is
/// blocked, how sure that is, and the sources.
#[derive(Debug, Args)]
pub struct CatalogueArgs {
    /// Read the *.toml files of this directory instead of the catalogue that the config names
    #[arg(long, value_name = "DIR", global = true)]
    catalogue: Option<PathBuf>,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<CatalogueCommand>,
}

#[derive(Debug, Subcommand)]
enum CatalogueCommand {
    /// List the entries, one a line (the default)
    List(ListArgs),
    /// Show everything about the entries that cover a name, an address or a path
    ///
    /// The first entry is the most specific one: it decides. `muzzle catalogue show
    /// sa.api.intl.miui.com` shows one of the hosts that Mi Browser sent visited pages to.
    Show {
        /// A host name, an IP address, or path and query of an HTTP request
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Check the catalogue: duplicates, missing sources, blocks that are too wide, essential hosts
    /// without protection
    ///
    /// Exits with 64 when something is found. Run it over a directory of your own with
    /// --catalogue before you use it.
    Lint,
    /// Write what a preset blocks as a list for another tool
    ///
    /// To standard output: `muzzle catalogue export --format hosts > hosts`.
    Export(ExportArgs),
}

#[derive(Debug, Default, Args)]
struct ListArgs {
    /// Only entries whose name, system or owner contains this text
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Only entries that the preset treats this way
    #[arg(long, value_name = "ACTION", value_parser = words(ACTION_WORDS))]
    action: Option<Action>,
    /// Only entries of this category
    #[arg(long, value_name = "CATEGORY", value_parser = words(Category::WORDS))]
    category: Option<Category>,
    /// Show the action that this preset takes
    #[arg(long, value_name = "PRESET", default_value = "standard", value_parser = words(Preset::WORDS))]
    preset: Preset,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// How the list is written; a hosts file and a list of domains cannot say wildcards
    #[arg(long, value_name = "FORMAT", value_parser = words(Format::WORDS))]
    format: Format,
    /// Export what this preset blocks
    #[arg(long, value_name = "PRESET", default_value = "standard", value_parser = words(Preset::WORDS))]
    preset: Preset,
}

/// One of a fixed set of words, so that a wrong one is answered with the list.
pub(super) fn words<T: Copy + Send + Sync + 'static>(
    words: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words.iter().map(|(word, _)| *word)).try_map(move |text| {
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|&(_, value)| value)
            .ok_or("unknown word")
    })
}

/// Runs the command; what it prints goes to `out`, what it did not find is said on `err`.
///
/// # Errors
/// The config or the catalogue is wrong, or `out` cannot be written.
pub fn run(
    args: &CatalogueArgs,
    config: Option<&Path>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let catalogue = match &args.catalogue {
        Some(directory) => Catalogue::load(directory)?,
        None => Catalogue::choose(Config::find(config)?.0.catalogue_directory.as_deref())?,
    };
    print(args, &catalogue, out, err).map(ExitCode::from)
}

fn print(
    args: &CatalogueArgs,
    catalogue: &Catalogue,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<u8> {
    let by_default = CatalogueCommand::List(ListArgs::default());
    match args.command.as_ref().unwrap_or(&by_default) {
        CatalogueCommand::List(list_args) => print_list(catalogue, list_args, args.json, out),
        CatalogueCommand::Show { name } => print_about(catalogue, name, args.json, out, err),
        CatalogueCommand::Lint => print_findings(catalogue, args.json, out),
        CatalogueCommand::Export(export_args) => {
            let list = export(catalogue, export_args.preset, export_args.format);
            if args.json {
                print_json(&list.lines().collect::<Vec<_>>(), out)?;
            } else {
                out.write_all(list.as_bytes())?;
            }
            Ok(0)
        }
    }
}

/// An entry as it is printed.
#[derive(Serialize)]
struct Row<'a> {
    action: Action,
    name: String,
    owner: &'a str,
    system: &'a str,
    region: &'a str,
    category: Category,
    confidence: Confidence,
    protected: bool,
    ports: &'a [u16],
    breaks: &'a str,
    sources: &'a [String],
}

impl<'a> Row<'a> {
    fn new(endpoint: &'a Endpoint, preset: Preset) -> Self {
        Self {
            action: preset.action(endpoint),
            name: endpoint.pattern.to_string(),
            owner: &endpoint.owner,
            system: &endpoint.system,
            region: &endpoint.region,
            category: endpoint.category,
            confidence: endpoint.confidence,
            protected: endpoint.is_protected(),
            ports: &endpoint.ports,
            breaks: &endpoint.breaks,
            sources: &endpoint.sources,
        }
    }

    fn contains(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        [self.name.as_str(), self.system, self.owner]
            .iter()
            .any(|field| field.to_lowercase().contains(&text))
    }

    fn cells(&self) -> [&str; 6] {
        [
            word(ACTION_WORDS, self.action),
            &self.name,
            self.system,
            self.region,
            word(Category::WORDS, self.category),
            word(Confidence::WORDS, self.confidence),
        ]
    }
}

fn print_list(
    catalogue: &Catalogue,
    args: &ListArgs,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let rows: Vec<_> = catalogue
        .endpoints
        .iter()
        .map(|endpoint| Row::new(endpoint, args.preset))
        .filter(|row| args.action.is_none_or(|action| row.action == action))
        .filter(|row| {
            args.category
                .is_none_or(|category| row.category == category)
        })
        .filter(|row| args.text.as_deref().is_none_or(|text| row.contains(text)))
        .collect();
    if json {
        print_json(&rows, out)?;
        return Ok(0);
    }
    let heading = [
        "ACTION",
        "NAME",
        "SYSTEM",
        "REGION",
        "CATEGORY",
        "CONFIDENCE",
    ];
    let mut widths = heading.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row.cells()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    print_row(heading, widths, out)?;
    for row in &rows {
        print_row(row.cells(), widths, out)?;
    }
    Ok(0)
}

fn print_row(cells: [&str; 6], widths: [usize; 6], out: &mut dyn Write) -> std::io::Result<()> {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(&format!("{cell:width$}  "));
    }
    writeln!(out, "{}", line.trim_end())
}

fn print_about(
    catalogue: &Catalogue,
    name: &str,
    json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<u8> {
    let found = match (name.parse::<IpAddr>(), DomainName::from_text(name)) {
        _ if name.starts_with('/') => catalogue.find_path(name),
        (Ok(address), _) => catalogue.find_address(address),
        (_, Ok(name)) => catalogue.find(&name),
        (_, Err(error)) => {
            writeln!(
                err,
                "{name} is neither a host name nor an address nor a path: {error}"
            )?;
            return Ok(EXIT_USAGE);
        }
    };
    if json {
        let rows: Vec<_> = found
            .iter()
            .map(|endpoint| Row::new(endpoint, Preset::Standard))
            .collect();
        print_json(&rows, out)?;
    } else {
        for (index, endpoint) in found.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            print_entry(endpoint, out)?;
        }
    }
    if found.is_empty() {
        writeln!(err, "the catalogue has no entry about {name}")?;
        return Ok(EXIT_FAILURE);
    }
    Ok(0)
}

fn print_entry(endpoint: &Endpoint, out: &mut dyn Write) -> std::io::Result<()> {
    let row = Row::new(endpoint, Preset::Standard);
    let presets: Vec<_> = Preset::WORDS
        .iter()
        .map(|(name, preset)| {
            format!("{} ({name})", word(ACTION_WORDS, preset.action(endpoint)))
        })
        .collect();
    writeln!(out, "{}", row.name)?;
    writeln!(out, "  owner       {}", row.owner)?;
    writeln!(out, "  system      {}", row.system)?;
    writeln!(out, "  region      {}", row.region)?;
    writeln!(out, "  category    {}", word(Category::WORDS, row.category))?;
    writeln!(out, "  action      {}", presets.join(", "))?;
    if row.protected {
        writeln!(out, "  protected   no list and no wildcard blocks it")?;
    }
    writeln!(
        out,
        "  confidence  {}",
        word(Confidence::WORDS, row.confidence)
    )?;
    if !row.ports.is_empty() {
        let ports: Vec<_> = row.ports.iter().map(ToString::to_string).collect();
        writeln!(out, "  ports       {} beside 443 and 80", ports.join(", "))?;
    }
    writeln!(out, "  breaks      {}", row.breaks)?;
    for (index, source) in row.sources.iter().enumerate() {
        let label = if index == 0 { "sources" } else { "" };
        writeln!(out, "  {label:10}  {source}")?;
    }
    Ok(())
}

fn print_findings(
    catalogue: &Catalogue,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let findings = lint(catalogue);
    if json {
        print_json(&findings, out)?;
    } else {
        for finding in &findings {
            writeln!(out, "{finding}")?;
        }
        let (entries, count) = (catalogue.endpoints.len(), findings.len());
        writeln!(out, "{entries} entries, {count} findings")?;
    }
    Ok(if findings.is_empty() { 0 } else { EXIT_USAGE })
}

fn print_json(value: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: CatalogueArgs,
    }

    /// Exit status, standard output and standard error of `muzzle catalogue ARGS`.
    fn catalogue(args: &[&str]) -> (u8, String, String) {
        let args = std::iter::once("catalogue").chain(args.iter().copied());
        let args = Command::try_parse_from(args).unwrap().args;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let catalogue = args
            .catalogue
            .as_deref()
            .map_or_else(|| Ok(Catalogue::built_in()), Catalogue::load);
        let status = match catalogue {
            Ok(catalogue) => print(&args, &catalogue, &mut out, &mut err).unwrap(),
            Err(error) => {
                writeln!(err, "{error}").unwrap();
                super::super::exit_code(&error.into())
            }
        };
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status, text(out), text(err))
    }

    #[test]
    fn list_is_the_default_and_its_columns_line_up() {
        let (status, out, _) = catalogue(&[]);
        assert_eq!(status, 0);
        let mut lines = out.lines();
        let heading = lines.next().unwrap();
        let column = heading.find("REGION").unwrap();
        for line in lines {
            assert_eq!(line.as_bytes()[column - 1], b' ', "{line}");
            assert_ne!(line.as_bytes()[column], b' ', "{line}");
        }
    }

    #[test]
    fn list_filters_and_shows_the_action_of_the_preset() {
        let (_, out, _) = catalogue(&["list", "httpdns", "--preset", "careful"]);
        assert!(out.contains("log     httpdns.browser.miui.com"), "{out}");
        let (_, out, _) = catalogue(&["list", "--action", "block", "--category", "essential"]);
        assert_eq!(out.lines().count(), 1, "{out}");
    }

    #[test]
    fn show_prints_every_field_of_every_entry_about_a_name() {
        let (status, out, _) = catalogue(&["show", "SA.api.intl.miui.com."]);
        assert_eq!(status, 0);
        for text in [
            "block (careful), block (standard), block (strict)",
            "Mi Browser and Mint Browser",
            "https://palant.info/2020/05/04/",
        ] {
            assert!(out.contains(text), "{text} in {out}");
        }
        let (_, out, _) = catalogue(&["show", "111.13.141.211", "--json"]);
        let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(rows[0]["name"], "111.13.141.211/32");
        assert_eq!(rows[0]["protected"], true);
        assert_eq!(rows[0]["ports"][0], 5222);
    }

    #[test]
    fn show_says_when_there_is_nothing_to_show() {
        assert_eq!(catalogue(&["show", "example.org"]).0, EXIT_FAILURE);
        let (status, _, err) = catalogue(&["show", "not a name"]);
        assert_eq!(status, EXIT_USAGE);
        assert!(
            err.contains("neither a host name nor an address nor a path"),
            "{err}"
        );
    }

    #[test]
    fn lint_passes_the_built_in_catalogue_and_refuses_a_broken_one() {
        assert_eq!(catalogue(&["lint"]).0, 0);
        let directory =
            std::env::temp_dir().join(format!("muzzle-lint-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("own.toml"), "[[endpoint]]\nname = \"a b\"\n").unwrap();
        let path = directory.to_str().unwrap().to_owned();
        let (status, _, err) = catalogue(&["lint", "--catalogue", &path]);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(status, EXIT_USAGE);
        assert!(err.contains("own.toml:2: "), "{err}");
        assert!(err.contains("own.toml:1: sources is missing"), "{err}");
    }

    #[test]
    fn export_writes_the_asked_format() {
        let (status, out, _) = catalogue(&["export", "--format", "adguard"]);
        assert_eq!(status, 0);
        assert!(out.contains("\n||sa.api.intl.miui.com^\n"), "{out}");
        assert!(out.contains("\n@@||connect.rom.miui.com^\n"), "{out}");
    }

    #[test]
    fn a_wrong_word_is_answered_with_the_right_ones() {
        let error = Command::try_parse_from(["catalogue", "list", "--preset", "hard"]);
        let message = error.err().unwrap().to_string();
        assert!(message.contains("careful, standard, strict"), "{message}");
    }
}
