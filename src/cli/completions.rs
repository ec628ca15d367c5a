//! `muzzle completions SHELL`: a few lines for a shell, which ask the program itself what may come
//! next, so that they never speak of another version.

use std::io::Write;

use clap::{Arg, ArgAction, Command, ValueEnum};

/// Arguments of `muzzle completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  muzzle completions bash > /etc/bash_completion.d/muzzle
  muzzle completions zsh > \"${fpath[1]}/_muzzle\"
  muzzle completions fish > ~/.config/fish/completions/muzzle.fish")]
pub struct Args {
    /// The shell that is to read it.
    shell: Shell,
}

/// Arguments of the command that the shells run.
#[derive(Debug, clap::Args)]
pub struct WordsArgs {
    /// What stands behind `muzzle`, up to the word that is to be completed, with that.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly interactive shell.
    Fish,
}

impl Shell {
    const fn script(self) -> &'static str {
        match self {
            Self::Bash => {
                "\
_muzzle() {
    local IFS=$'\\n'
    COMPREPLY=($(\"$1\" complete -- \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null | cut -f 1))
}
complete -o default -F _muzzle muzzle
"
            }
            Self::Zsh => {
                "\
#compdef muzzle
_muzzle() {
    local -a found
    found=(${(f)\"$(\"${words[1]}\" complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)\"})
    if (( $#found )); then
        compadd -- \"${(@)found%%$'\\t'*}\"
    else
        _files
    fi
}
if [[ ${funcstack[1]} == _muzzle ]]; then
    _muzzle
else
    compdef _muzzle muzzle
fi
"
            }
            Self::Fish => {
                "\
complete -c muzzle -f -a '(muzzle complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
complete -c muzzle -F -n '__fish_seen_subcommand_from replay verify'
"
            }
        }
    }
}

/// Prints what a shell is to read.
///
/// # Errors
/// `out` cannot be written to.
pub fn run(args: &Args, out: &mut dyn Write) -> std::io::Result<()> {
    out.write_all(args.shell.script().as_bytes())
}

/// Prints what may come next, one a line, with what it is behind a tab.
///
/// # Errors
/// `out` cannot be written to.
pub fn complete(
    args: &WordsArgs,
    command: &mut Command,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    for (word, help) in candidates(command, &args.words) {
        writeln!(out, "{word}\t{help}")?;
    }
    Ok(())
}

/// What may stand in place of the last word, with its help; nothing where that may be anything.
fn candidates(command: &mut Command, words: &[String]) -> Vec<(String, String)> {
    command.build();
    let Some((last, before)) = words.split_last() else {
        return Vec::new();
    };
    let mut command = &*command;
    let mut awaited: Option<&Arg> = None;
    for word in before {
        let is_value = awaited.take().is_some();
        if is_value {
            continue;
        }
        if word.starts_with('-') {
            awaited = option(command, word).filter(|it| it.get_action().takes_values());
        } else if let Some(inner) = command.find_subcommand(word) {
            command = inner;
        }
    }
    let mut found = match awaited {
        Some(option) => values(option),
        None if last.starts_with('-') => options(command),
        None => {
            let shown = command.get_subcommands().filter(|it| !it.is_hide_set());
            let commands = shown.map(|it| (it.get_name().to_owned(), help(it.get_about())));
            let positionals = command.get_positionals().flat_map(values);
            commands.chain(positionals).collect()
        }
    };
    found.retain(|(word, _)| word.starts_with(&**last));
    found
}

fn option<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let long = |it: &&Arg| {
        it.get_long()
            .is_some_and(|long| word == format!("--{long}"))
    };
    let short = |it: &&Arg| {
        it.get_short()
            .is_some_and(|short| word == format!("-{short}"))
    };
    command.get_arguments().find(|it| long(it) || short(it))
}

fn options(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_arguments().filter(|it| !it.is_hide_set());
    let named = |it: &Arg| Some((format!("--{}", it.get_long()?), help(it.get_help())));
    shown.filter_map(named).collect()
}

fn values(argument: &Arg) -> Vec<(String, String)> {
    // A flag's are true and false.
    if !matches!(argument.get_action(), ArgAction::Set | ArgAction::Append) {
        return Vec::new();
    }
    let values = argument.get_possible_values();
    let told =
        |it: &clap::builder::PossibleValue| (it.get_name().to_owned(), help(it.get_help()));
    values
        .iter()
        .filter(|it| !it.is_hide_set())
        .map(told)
        .collect()
}

/// Its first line.
fn help(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn found(words: &[&str]) -> Vec<String> {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        let found = candidates(&mut Cli::command(), &words);
        found.into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn what_may_come_next_is_known_in_every_place() {
        for (words, expected) in [
            (&["ch"][..], &["check", "choices"][..]),
            (&["--config", "ch", "al"], &["allow"]),
            (&["allow", "--a"], &["--app"]),
            (&["allow", "x.example", "--fo"], &["--for"]),
            (&["allow", "--config", "--"], &[]),
            (&["completions", ""], &["bash", "zsh", "fish"]),
            (&["completions", "z"], &["zsh"]),
            (&["catalogue", "li"], &["lint", "list"]),
            (&["nonsense", "work"], &[]),
            (&[], &[]),
        ] {
            let mut found = found(words);
            if words.first() == Some(&"catalogue") {
                found.sort();
            }
            assert_eq!(found, expected, "{words:?}");
        }
        let all = found(&[""]);
        assert!(all.contains(&"daemon".to_owned()) && !all.contains(&"worker".to_owned()));
    }

    #[test]
    fn help_is_one_line() {
        let all = candidates(&mut Cli::command(), &["".to_owned()]);
        for (word, help) in all {
            assert!(
                !help.is_empty() && !help.contains(['\n', '\t']),
                "{word}: {help}"
            );
        }
    }
}
