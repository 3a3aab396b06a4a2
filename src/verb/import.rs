//! `import CONNECTOR.json`

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::fault::RunFault;
use douane_pipelines::import::{BYTES_MAX, Imported};

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// A connector's configuration: a map of texts, or `{ name, config }` around it; `-` reads
    /// standard input.
    file: PathBuf,
    /// Writes the pipeline's file into this folder, and `domains.yaml` where there is none. Without
    /// it the file goes to standard output, and the report to standard error.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(args: &Args) -> Result<ExitCode, RunFault> {
    let imported = Imported::of(&read(&args.file)?)
        .map_err(|fault| RunFault::File(format!("{}: {fault}", args.file.display())))?;
    let written = args.out.as_deref().map(|folder| write(folder, &imported)).transpose()?;
    match (args.format, written) {
        (Format::Json, written) => {
            verb::print_json(&imported);
            if let Some(missing) = written.and_then(|written| written.missing) {
                verb::say(&mut std::io::stderr(), &missing);
            }
        }
        (Format::Text, Some(written)) => {
            verb::print(&imported.report());
            for path in &written.files {
                verb::print(&format!("written: {}", path.display()));
            }
            if let Some(missing) = written.missing {
                verb::print(&missing);
            }
        }
        (Format::Text, None) => {
            verb::print(&imported.yaml);
            verb::say(&mut std::io::stderr(), &imported.report());
            if let Some(text) = &imported.domains {
                let what = format!("domains.yaml beside it must hold:\n{text}");
                verb::say(&mut std::io::stderr(), &what);
            }
        }
    }
    Ok(verb::answer(imported.is_whole()))
}

fn read(path: &Path) -> Result<Vec<u8>, RunFault> {
    let fault = |error: std::io::Error| verb::file_fault(path, &error);
    let from: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => Box::new(fs::File::open(path).map_err(fault)?),
    };
    let mut bytes = Vec::new();
    from.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fault)?;
    match bytes.len() as u64 > BYTES_MAX {
        true => Err(RunFault::File(format!("{}: over {BYTES_MAX} bytes", path.display()))),
        false => Ok(bytes),
    }
}

/// What lies there now.
struct Written {
    files: Vec<PathBuf>,
    /// What a person has to add to a file that was there.
    missing: Option<String>,
}

/// Nothing is overwritten: a file that is there may have been mended by hand.
fn write(folder: &Path, imported: &Imported) -> Result<Written, RunFault> {
    let put = |path: PathBuf, text: &str| {
        let mut file = fs::File::create_new(&path).map_err(|e| verb::file_fault(&path, &e))?;
        std::io::Write::write_all(&mut file, text.as_bytes())
            .map_err(|e| verb::file_fault(&path, &e))?;
        Ok::<_, RunFault>(path)
    };
    fs::create_dir_all(folder).map_err(|error| verb::file_fault(folder, &error))?;
    let mut files = vec![put(folder.join(format!("{}.yaml", imported.name)), &imported.yaml)?];
    let mut missing = None;
    let domains = folder.join("domains.yaml");
    if let Some(text) = &imported.domains {
        match domains.exists() {
            true => missing = missing_in(&domains, text)?,
            false => files.push(put(domains, text)?),
        }
    }
    Ok(Written { files, missing })
}

/// What a file of domains that was there lacks of `text`.
fn missing_in(path: &Path, text: &str) -> Result<Option<String>, RunFault> {
    let there = fs::read_to_string(path).map_err(|error| verb::file_fault(path, &error))?;
    let key = |line: &str| line.trim().split(':').next().map(str::to_owned);
    let has = |wanted: &&str| there.lines().any(|line| key(line) == key(wanted));
    let lacks: Vec<&str> = text.lines().filter(|line| !has(line)).collect();
    let path = path.display();
    let what =
        || format!("{path} was there, and is left as it is; add to it\n{}", lacks.join("\n"));
    Ok((!lacks.is_empty()).then(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_domains_that_is_there_is_left_and_what_it_lacks_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let import = |name: &str| {
            let json = format!(
                r#"{{ "name": "{name}", "config": {{ "connector.class": "x.Sink", "topics": "t", "transforms": "k",
                    "transforms.k.type": "x.ValueToKey", "transforms.k.fields": "id" }} }}"#
            );
            let imported = Imported::of(json.as_bytes()).expect("a connector");
            write(dir.path(), &imported).expect("a folder to write to")
        };
        let first = import("customers");
        assert_eq!((first.files.len(), first.missing), (2, None));
        let second = import("orders");
        let missing = second.missing.expect("a domain is missing");
        assert!(
            second.files.len() == 1 && missing.ends_with("add to it\n  orders_key: {}"),
            "{missing}"
        );
        let domains = dir.path().join("domains.yaml");
        assert_eq!(fs::read_to_string(&domains).expect("it"), "domains:\n  customers_key: {}\n");
        // Added by hand, with a comment: nothing is said.
        fs::write(&domains, "domains:\n  customers_key: {}\n  orders_key: {}  # of orders\n")
            .expect("it");
        fs::remove_file(dir.path().join("orders.yaml")).expect("it");
        assert_eq!(import("orders").missing, None);
    }
}
