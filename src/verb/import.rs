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
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(args: &Args) -> Result<ExitCode, RunFault> {
    let imported = Imported::of(&read(&args.file)?)
        .map_err(|fault| RunFault::File(format!("{}: {fault}", args.file.display())))?;
    let written = args.out.as_deref().map(|folder| write(folder, &imported)).transpose()?;
    match (args.format, written) {
        (Format::Json, _) => verb::print_json(&imported),
        (Format::Text, Some(written)) => {
            verb::print(&imported.report());
            written.iter().for_each(|path| verb::print(&format!("written: {}", path.display())));
        }
        (Format::Text, None) => {
            verb::print(&imported.yaml);
            verb::say(&mut std::io::stderr(), &imported.report());
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

/// Nothing is overwritten: a file that is there may have been mended by hand.
fn write(folder: &Path, imported: &Imported) -> Result<Vec<PathBuf>, RunFault> {
    let put = |path: PathBuf, text: &str| {
        let mut file = fs::File::create_new(&path).map_err(|e| verb::file_fault(&path, &e))?;
        std::io::Write::write_all(&mut file, text.as_bytes())
            .map_err(|e| verb::file_fault(&path, &e))?;
        Ok::<_, RunFault>(path)
    };
    fs::create_dir_all(folder).map_err(|error| verb::file_fault(folder, &error))?;
    let mut written = vec![put(folder.join(format!("{}.yaml", imported.name)), &imported.yaml)?];
    let domains = folder.join("domains.yaml");
    if let Some(text) = imported.domains.as_deref().filter(|_| !domains.exists()) {
        written.push(put(domains, text)?);
    }
    Ok(written)
}
