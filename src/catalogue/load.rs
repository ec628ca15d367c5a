//! Catalogue files → [`Catalogue`]. Text in, entries or every problem out; only
//! [`Catalogue::load`] reads from disk.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::{ACTION_WORDS, Catalogue, Category, Confidence, Endpoint, Pattern};
use crate::config::reader::{Problem, Problems, Section, Source};
use crate::parse::DomainName;
use crate::parse::http::path_start;
use crate::parse::name::NameError;

/// `["ads", …]` → `[("ads.toml", its text), …]`.
macro_rules! built_in_files {
    ($($name:literal),* $(,)?) => {
        [$((
            concat!($name, ".toml"),
            include_str!(concat!("../../config/catalogue/", $name, ".toml")),
        )),*]
    };
}

/// The files of `config/catalogue`, compiled in; in the order of their names.
const BUILT_IN: &[(&str, &str)] = &built_in_files![
    "ads-zone-names",
    "ads",
    "cloud-control",
    "cloud",
    "community",
    "crash",
    "encrypted-dns",
    "essential",
    "functional",
    "httpdns",
    "mi-browser",
    "mi-home",
    "mi-stat",
    "onetrack",
    "ota",
    "push-addresses",
    "push-aws",
    "push-google",
    "push-services",
    "push",
    "security-app",
    "sensors-analytics",
    "statistics",
    "store-and-themes",
];

/// Why a catalogue could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory cannot be listed.
    #[error("cannot list the catalogue directory {}", path.display())]
    Directory {
        /// The directory as the user named it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory without catalogue files would be a catalogue that protects nothing.
    #[error("there is no .toml file in {}", path.display())]
    Empty {
        /// The directory as the user named it.
        path: PathBuf,
    },
    /// What is wrong in the files.
    #[error(transparent)]
    Problems(#[from] Problems),
}

impl Catalogue {
    /// The catalogue compiled into this program.
    ///
    /// # Panics
    /// Never: a test loads it.
    #[must_use]
    pub fn built_in() -> Self {
        Self::from_files(BUILT_IN).expect("the compiled-in catalogue loads; a test proves it")
    }

    /// The catalogue in `directory`, or the one compiled in where none is given.
    ///
    /// # Errors
    /// As [`Catalogue::load`].
    pub fn choose(directory: Option<&Path>) -> Result<Self, LoadError> {
        directory.map_or_else(|| Ok(Self::built_in()), Self::load)
    }

    /// Every `*.toml` of `directory`, in the order of their names.
    ///
    /// # Errors
    /// The directory or a file cannot be read, or the files have problems: all of them at once.
    pub fn load(directory: &Path) -> Result<Self, LoadError> {
        let list = |source| LoadError::Directory {
            path: directory.to_owned(),
            source,
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(list)? {
            let path = entry.map_err(list)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                paths.push(path);
            }
        }
        paths.sort();
        if paths.is_empty() {
            let path = directory.to_owned();
            return Err(LoadError::Empty { path });
        }
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            match std::fs::read_to_string(&path) {
                Ok(text) => files.push((path.display().to_string(), text)),
                Err(source) => return Err(LoadError::File { path, source }),
            }
        }
        Ok(Self::from_files(&files)?)
    }

    /// The entries of `files`, each a name for messages and a text.
    ///
    /// # Errors
    /// Every problem of every file, and every pattern that has an entry already.
    pub fn from_files<N: AsRef<str>, T: AsRef<str>>(
        files: &[(N, T)],
    ) -> Result<Self, Problems> {
        let mut endpoints = Vec::new();
        let mut lines = Vec::new();
        let mut problems = Problems::default();
        for (file, text) in files {
            let (file, text) = (file.as_ref(), text.as_ref());
            match Source::read(file, text, |top| top.sections("endpoint", read_endpoint)) {
                Ok(read) => {
                    for (endpoint, line) in read.into_iter().flatten() {
                        endpoints.push(endpoint);
                        lines.push((file, line));
                    }
                }
                Err(found) => problems.0.extend(found.0),
            }
        }
        problems.0.extend(duplicates(&endpoints, &lines));
        if problems.0.is_empty() {
            Ok(Self { endpoints })
        } else {
            Err(problems)
        }
    }
}

fn duplicates(endpoints: &[Endpoint], lines: &[(&str, usize)]) -> Vec<Problem> {
    let mut seen = HashMap::with_capacity(endpoints.len());
    let mut problems = Vec::new();
    for (endpoint, &(file, line)) in endpoints.iter().zip(lines) {
        if let Some((first_file, first_line)) = seen.get(&endpoint.pattern) {
            problems.push(Problem {
                file: file.to_owned(),
                line,
                message: format!(
                    "{} has an entry already, at {first_file}:{first_line}",
                    endpoint.pattern
                ),
            });
        } else {
            seen.insert(&endpoint.pattern, (file, line));
        }
    }
    problems
}

/// One `[[endpoint]]` and the line of its heading; `None` where a problem was reported.
fn read_endpoint(section: &mut Section<'_, '_, '_>) -> Option<(Endpoint, usize)> {
    let line = section.line();
    let keys = ["name", "address", "path"];
    let pattern = match keys.map(|key| section.has(key)) {
        [true, false, false] => section.parse("name", parse_name),
        [false, true, false] => section.parse("address", parse_range),
        [false, false, true] => section.parse("path", path_start).map(Pattern::Path),
        _ => {
            section.report("an endpoint has a name, an address or a path, one of the three");
            for key in keys {
                section.text(key);
            }
            None
        }
    };
    for key in [
        "owner",
        "system",
        "region",
        "category",
        "action",
        "confidence",
        "breaks",
        "sources",
    ] {
        if !section.has(key) {
            section.report(format!("{key} is missing"));
        }
    }
    let owner = section.text("owner");
    let system = section.text("system");
    let region = section.text("region");
    let category = section.word("category", Category::WORDS);
    let action = section.word("action", ACTION_WORDS);
    let confidence = section.word("confidence", Confidence::WORDS);
    let ports = section.numbers("ports").unwrap_or_default();
    let breaks = section.text("breaks");
    let sources = section.list("sources", |text| {
        Ok::<_, std::convert::Infallible>(text.to_owned())
    });
    let endpoint = Endpoint {
        pattern: pattern?,
        owner: owner?,
        system: system?,
        region: region?,
        category: category?,
        action: action?,
        confidence: confidence?,
        ports,
        breaks: breaks?,
        sources: sources?,
    };
    Some((endpoint, line))
}

/// `x` or `*.x`.
pub(crate) fn parse_name(text: &str) -> Result<Pattern, NameError> {
    match text.strip_prefix("*.") {
        Some(name) => DomainName::from_text(name).map(Pattern::Suffix),
        None => DomainName::from_text(text).map(Pattern::Exact),
    }
}

fn parse_range(text: &str) -> Result<Pattern, String> {
    let range: IpNet = text
        .parse()
        .map_err(|_| "write it as an address and a prefix length, 192.0.2.1/32".to_owned())?;
    if range == range.trunc() {
        Ok(Pattern::Range(range))
    } else {
        Err(format!(
            "bits beyond the prefix are set; {} is the range",
            range.trunc()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ENTRY: &str = r#"
[[endpoint]]
name = "*.example.com"
owner = "Example"
system = "Browser"
region = "EU"
category = "telemetry"
action = "block"
confidence = "high"
ports = [8106]
breaks = "nothing"
sources = ["https://example.com/"]
"#;

    #[test]
    fn the_compiled_in_catalogue_loads() {
        assert!(!Catalogue::built_in().endpoints.is_empty());
    }

    #[test]
    fn every_file_of_the_directory_is_compiled_in() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/catalogue");
        let files: BTreeSet<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let listed: BTreeSet<_> = BUILT_IN
            .iter()
            .map(|(file, _)| (*file).to_owned())
            .collect();
        assert_eq!(files, listed);
        // Too long to print when it fails.
        assert!(Catalogue::load(&directory).unwrap() == Catalogue::built_in());
    }

    #[test]
    fn every_key_reaches_the_entry() {
        let catalogue = Catalogue::from_files(&[("a.toml", ENTRY)]).unwrap();
        let [endpoint] = &catalogue.endpoints[..] else {
            panic!("one entry")
        };
        assert_eq!(endpoint.pattern.to_string(), "*.example.com");
        assert_eq!(endpoint.region, "EU");
        assert_eq!(endpoint.category, Category::Telemetry);
        assert_eq!(endpoint.ports, [8106]);
        assert_eq!(endpoint.sources, ["https://example.com/"]);
    }

    #[test]
    fn every_problem_of_every_file_is_reported_with_its_line() {
        let first = ENTRY.replace("high", "sure").replace("breaks", "break");
        let second = ENTRY.replace(r#"name = "*.example.com""#, r#"address = "192.0.2.1/24""#);
        let problems =
            Catalogue::from_files(&[("a.toml", first), ("b.toml", second)]).unwrap_err();
        let text = problems.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].starts_with("a.toml:2: breaks is missing"),
            "{text}"
        );
        assert!(lines[1].starts_with("a.toml:9: "), "{text}");
        assert!(lines[1].contains(r#"must be one of "low""#), "{text}");
        assert!(
            lines[2].starts_with("a.toml:11: endpoint.break is not"),
            "{text}"
        );
        assert!(lines[3].starts_with("b.toml:3: "), "{text}");
        assert!(lines[3].contains("192.0.2.0/24 is the range"), "{text}");
        assert_eq!(lines.len(), 4, "{text}");
    }

    #[test]
    fn a_second_entry_names_the_place_of_the_first() {
        let other = ENTRY.replace("*.example.com", "*.EXAMPLE.com.");
        let problems =
            Catalogue::from_files(&[("a.toml", ENTRY), ("b.toml", &other)]).unwrap_err();
        assert_eq!(
            problems.to_string(),
            "b.toml:2: *.example.com has an entry already, at a.toml:2"
        );
    }

    #[test]
    fn a_directory_without_files_is_no_catalogue() {
        let nowhere = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert!(matches!(
            Catalogue::load(&nowhere),
            Err(LoadError::Empty { .. })
        ));
        let missing = nowhere.join("missing");
        assert!(matches!(
            Catalogue::load(&missing),
            Err(LoadError::Directory { .. })
        ));
    }
}
