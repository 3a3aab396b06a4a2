//! Parts of a replay, made on several machines, as one answer. No sum and no `holds` of a file is taken:
//! they are made again of its answers, and what it says otherwise is refused. So are parts of different
//! questions or of ledgers that went on between them, parts that are missing, overlap or lack
//! transactions, and answers that are not those of the digest beside them. The digests go on into what is
//! joined: REPLAYED in the ledger has them, and a file that was made up is told by that alone.

use std::path::{Path, PathBuf};

use super::{Replay, digest, selection};
use crate::fault::RunFault;

/// A part's file, in bytes.
const BYTES_MAX: usize = 1 << 30;

/// One answer of what `replay --format json` printed for each part; of one whole answer, itself.
pub fn join(files: &[PathBuf]) -> Result<Replay, RunFault> {
    let parts = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    joined(parts).map_err(|why| {
        RunFault::File(format!(
            "{why}\n  next: name what `replay --part I/N --format json` printed, \
                                 each part of one question once"
        ))
    })
}

fn read(path: &Path) -> Result<Replay, RunFault> {
    let no = |why: &str| RunFault::File(format!("{}: {why}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| no(&error.kind().to_string()))?;
    if bytes.len() > BYTES_MAX {
        return Err(no("too long"));
    }
    let part: Replay =
        serde_json::from_slice(&bytes).map_err(|_| no("this is no answer of `replay`"))?;
    match part.digests == [digest(&part.answers)?] {
        true => Ok(part),
        false => Err(no("its answers are not those of the digest beside them")),
    }
}

fn joined(mut parts: Vec<Replay>) -> Result<Replay, String> {
    let whole = match parts.as_slice() {
        [] => return Err("no part".to_owned()),
        [one] if one.part.is_none() => {
            adds_up(one).map_err(|why| format!("the answer {why}"))?;
            is_all(one)?;
            return Ok(one.clone());
        }
        [first, ..] => first.clone(),
    };
    let Some((_, of)) = whole.part else {
        return Err("one of them is a whole answer".to_owned());
    };
    parts.sort_by_key(|part| part.part);
    for (number, part) in (1..).zip(&parts) {
        if part.part != Some((number, of)) {
            return Err(format!("part {number}/{of} is missing, or there twice"));
        }
        let same = (&part.pipeline, &part.under, &part.asked, part.in_folder)
            == (&whole.pipeline, &whole.under, &whole.asked, whole.in_folder);
        if !same {
            return Err(format!("part {number}/{of} is of another question, or of other files"));
        }
        if part.selection != whole.selection {
            return Err(format!(
                "part {number}/{of} is of another ledger, or the ledger went on between the parts: \
                 `--to` bounds what is asked"
            ));
        }
        adds_up(part).map_err(|why| format!("part {number}/{of} {why}"))?;
    }
    if parts.len() != of {
        return Err(format!("{} of {of} parts", parts.len()));
    }
    let ms = parts.iter().map(|part| part.ms).max().unwrap_or(0);
    let at = parts.iter().map(|part| part.at.clone()).max().unwrap_or_default();
    let digests = parts.iter().flat_map(|part| part.digests.clone()).collect();
    let mut answers: Vec<_> = parts.into_iter().flat_map(|part| part.answers).collect();
    answers.sort_by(|a, b| (&a.log, a.sequence).cmp(&(&b.log, b.sequence)));
    if answers.windows(2).any(|pair| pair[0].manifest == pair[1].manifest) {
        return Err("a transaction is in two parts".to_owned());
    }
    let Replay { pipeline, by, reason, under, asked, selection, in_folder, .. } = whole;
    let sums = Replay::of(answers, !in_folder, false, ms);
    let joined =
        Replay { pipeline, by, reason, at, under, asked, part: None, selection, digests, ..sums };
    is_all(&joined)?;
    Ok(joined)
}

/// What a file sums up is what its answers sum up to.
fn adds_up(part: &Replay) -> Result<(), &'static str> {
    let is_part = part.part.is_some();
    let again = Replay::of(part.answers.clone(), !part.in_folder, is_part, part.ms);
    let sums = |r: &Replay| {
        let gone = (r.input_gone, r.keys_gone, r.semantics_gone, r.manifests_unseen);
        (r.transactions, r.records, r.equal, r.different, gone, r.holds)
    };
    match sums(&again) == sums(part) {
        true => Ok(()),
        false => Err("does not add up"),
    }
}

/// The answers are about all that was asked, each once.
fn is_all(whole: &Replay) -> Result<(), String> {
    match selection(whole.answers.iter()).is_ok_and(|found| found == whole.selection) {
        true => Ok(()),
        false => Err("its answers are not about all that was asked, each once".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::transaction;
    use super::super::{Answer, Transaction};
    use super::*;

    fn part(of: Option<(usize, usize)>, answers: Vec<Transaction>, all: &[Transaction]) -> Replay {
        let digests = vec![digest(&answers).unwrap()];
        let selection = selection(all.iter()).unwrap();
        Replay {
            part: of,
            selection,
            digests,
            asked: "all".into(),
            ..Replay::of(answers, true, of.is_some(), 7)
        }
    }

    #[test]
    fn parts_of_one_question_are_one_answer() {
        let equal = |log, n| transaction(log, n, Answer::Equal);
        let all = [equal("shard-0", 1), equal("shard-1", 1), equal("shard-0", 2)];
        let part = |of, answers: &[Transaction]| part(of, answers.to_vec(), &all);
        let (one, two) = (part(Some((1, 2)), &all[..2]), part(Some((2, 2)), &all[2..]));
        let whole = joined(vec![two.clone(), one.clone()]).unwrap();
        let order: Vec<_> = whole.answers.iter().map(|one| one.manifest.as_str()).collect();
        assert_eq!(order, ["shard-0-1", "shard-0-2", "shard-1-1"]);
        assert_eq!((whole.transactions, whole.records, whole.holds), (3, 9, true));
        assert_eq!((whole.digests.len(), whole.part), (2, None));
        // More parts than transactions.
        let of_three = |number, answers| part(Some((number, 3)), answers);
        let empty = of_three(3, &[]);
        assert!(empty.holds && empty.transactions == 0);
        let parts = vec![of_three(1, &all[..2]), of_three(2, &all[2..]), empty.clone()];
        let whole = joined(parts).unwrap();
        assert_eq!((whole.transactions, whole.holds, whole.digests.len()), (3, true, 3));
        let lacks = vec![of_three(1, &all[..2]), of_three(2, &[]), empty];
        assert!(joined(lacks).unwrap_err().contains("not about all that was asked"));
        // One that does not hold takes the whole along.
        let bad = part(Some((2, 2)), &[transaction("shard-0", 2, Answer::Different)]);
        let whole = joined(vec![one.clone(), bad]).unwrap();
        assert!(!whole.holds && whole.different == 1);
        // So does one without its manifest, whatever its sums say.
        let unseen = Transaction { manifest_seen: false, ..equal("shard-0", 2) };
        let unseen = part(Some((2, 2)), &[unseen]);
        assert!(!unseen.holds && !joined(vec![one.clone(), unseen.clone()]).unwrap().holds);
        let claims = Replay { holds: true, ..unseen };
        let folder = Replay { in_folder: true, ..claims.clone() };
        let other = Replay { asked: "manifest aa".into(), ..two.clone() };
        let later = Replay { selection: "0".repeat(64), ..two.clone() };
        let lies = Replay { equal: 7, ..two.clone() };
        let hides = Replay { input_gone: 1, ..two.clone() };
        let again = part(Some((2, 2)), &all[..1]);
        let beside = part(Some((2, 2)), &[equal("shard-7", 2)]);
        let lacks = part(Some((2, 2)), &[]);
        for (bad, word) in [
            (vec![], "no part"),
            (vec![one.clone()], "1 of 2 parts"),
            (vec![one.clone(), one.clone()], "missing, or there twice"),
            (vec![one.clone(), two.clone(), two.clone()], "missing, or there twice"),
            (vec![one.clone(), other], "another question"),
            (vec![one.clone(), folder], "another question"),
            (vec![one.clone(), later], "another ledger"),
            (vec![one.clone(), lies], "does not add up"),
            (vec![one.clone(), hides], "does not add up"),
            (vec![one.clone(), claims], "does not add up"),
            (vec![one.clone(), again], "in two parts"),
            (vec![one.clone(), beside], "not about all that was asked"),
            (vec![one.clone(), lacks], "not about all that was asked"),
            (vec![part(None, &[]), one.clone()], "whole answer"),
            (vec![part(None, &all[..2])], "not about all that was asked"),
        ] {
            let why = joined(bad).unwrap_err();
            assert!(why.contains(word), "{word}: {why}");
        }
        let alone = part(None, &all);
        assert_eq!(joined(vec![alone.clone()]), Ok(alone));
    }

    #[test]
    fn answers_that_are_not_those_of_their_digest_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("part.json");
        let all = [transaction("shard-0", 1, Answer::Different)];
        let one = part(None, all.to_vec(), &all);
        std::fs::write(&file, serde_json::to_vec(&one).unwrap()).unwrap();
        assert_eq!(join(std::slice::from_ref(&file)).unwrap(), one);
        let text = std::fs::read_to_string(&file).unwrap();
        let mended = text.replace("\"answer\":\"different\"", "\"answer\":\"equal\"");
        assert_ne!(mended, text);
        std::fs::write(&file, mended).unwrap();
        let why = join(std::slice::from_ref(&file)).unwrap_err().to_string();
        assert!(why.contains("the digest beside them"), "{why}");
    }
}
