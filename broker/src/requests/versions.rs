//! ApiVersions: what is offered.

use super::{ALL, Outcome, Request, Say};
use crate::code::Code;
use crate::core::Core;
use crate::wire::{Reader, Writer};

pub(super) fn api_versions(_: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    if request.version >= 3 {
        // Name and version of the client's software.
        Reader::text(&mut request.body)?;
        Reader::text(&mut request.body)?;
        request.body.tags()?;
    }
    answer(request.version, 0, out);
    Ok(Say::Answer)
}

/// The answer to a version that is not known, in version 0.
pub(crate) fn unknown_version(out: &mut Writer) {
    answer(0, Code::UnsupportedVersion as i16, out);
}

fn answer(version: i16, code: i16, out: &mut Writer) {
    out.i16(code);
    out.array(ALL, |out, offer| {
        out.i16(offer.key);
        out.i16(*offer.versions.start());
        out.i16(*offer.versions.end());
    });
    if version >= 1 {
        super::no_throttle(out);
    }
    out.tags();
}
