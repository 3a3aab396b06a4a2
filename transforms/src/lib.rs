//! Protection: batch in, batch out.
