//! The calls of librdkafka that the wrapper lacks or makes badly, and all unsafe code of this crate.
//!
//! Each function owns what it makes and frees it before it returns; nothing borrowed from
//! librdkafka leaves this module.

#![allow(
    unsafe_code,
    reason = "the wrapper has no DescribeTopics, leaks the cluster's id, and panics on header names"
)]

use std::ffi::{CStr, CString};
use std::sync::Once;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedHeaders;
use rdkafka_sys as sys;
use zeroize::Zeroizing;

use crate::edge::{Rights, TopicIdentity};

/// Why a question has no answer.
pub(super) enum NoAnswer {
    /// The broker or the client says why.
    Code(RDKafkaErrorCode),
    /// The answer is not one the protocol allows.
    Malformed(&'static str),
}

/// What lies behind `Owned`: a pointer and the function that frees it.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from librdkafka, is not null (see `owned`), and is freed once.
        unsafe { (self.1)(self.0) }
    }
}

fn owned<T>(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Owned<T>, NoAnswer> {
    if pointer.is_null() { Err(NoAnswer::Malformed("null")) } else { Ok(Owned(pointer, free)) }
}

/// Has the C library keep what librdkafka gives back, for the next batch: it comes and goes by the
/// megabyte, and each page that was returned to the system is cleared again when it is touched next.
///
/// glibc's `mallopt(3)`. Rust's own values lie elsewhere; with another C library nothing is set.
pub(super) fn keep_heap() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(target_env = "gnu")]
        for (parameter, value) in [
            // Blocks up to this size lie in the heap and not in a mapping of their own. It is the
            // largest that a 64-bit glibc takes.
            (libc::M_MMAP_THRESHOLD, 32 << 20),
            // Free bytes at a heap's end that are not returned.
            (libc::M_TRIM_THRESHOLD, 16 << 20),
            // No lists of small free blocks: each request of a kilobyte, as a record is, would
            // first go through all of them.
            (libc::M_MXFAST, 0),
        ] {
            // SAFETY: two integers go in and one comes out. 0 means that the parameter stays as it
            // was, which costs time and nothing else.
            unsafe { libc::mallopt(parameter, value) };
        }
    });
}

/// Milliseconds as C has them.
fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// The cluster's id, asked for anew or as the client knows it; none within `timeout` is `None`.
pub(super) fn cluster_id<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
) -> Option<String> {
    // SAFETY: the client lives as long as the borrow. The text is ours and is given back to the
    // allocator it came from after it was copied.
    unsafe {
        let text = sys::rd_kafka_clusterid(client.native_ptr(), millis(timeout));
        if text.is_null() {
            return None;
        }
        let id = CStr::from_ptr(text).to_str().ok().map(str::to_owned);
        sys::rd_kafka_mem_free(client.native_ptr(), text.cast());
        id
    }
}

/// Gives a client the token that it shows to brokers; `until_ms`: since 1970.
pub(super) fn set_token<C: ClientContext>(
    client: &Client<C>,
    token: &str,
    principal: &str,
    until_ms: i64,
) -> Result<(), &'static str> {
    let text = |text: &str| CString::new(text).map_err(|_| "it has a zero byte");
    let (token, principal) = (Zeroizing::new(text(token)?.into_bytes_with_nul()), text(principal)?);
    let mut why = [0; 256];
    // SAFETY: both texts end with a zero byte and outlive the call, which copies them; there are no
    // extensions; `why` has the size that is said.
    let code = unsafe {
        sys::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            token.as_ptr().cast(),
            until_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            why.as_mut_ptr(),
            why.len(),
        )
    };
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG => Err("it has expired"),
        _ => Err("it is none, or the settings want none"),
    }
}

/// Throws away what has gathered in the client's own queue: log lines that nobody polls for. What
/// it said last of a broker, its code and its words, is given back.
pub(super) fn forget_events<C: ClientContext>(
    client: &Client<C>,
) -> Option<(RDKafkaErrorCode, String)> {
    const AT_MOST: usize = 10_000;
    let mut said = None;
    // SAFETY: the queue is counted up by `get_main` and down by `Owned`; each event is ours.
    unsafe {
        let queue = sys::rd_kafka_queue_get_main(client.native_ptr());
        let Ok(queue) = owned(queue, sys::rd_kafka_queue_destroy) else { return said };
        for _ in 0..AT_MOST {
            let event = sys::rd_kafka_queue_poll(queue.0, 0);
            if event.is_null() {
                break;
            }
            // Its text lives as long as the event. That all brokers are down says less than why one is.
            let code: RDKafkaErrorCode = sys::rd_kafka_event_error(event).into();
            if sys::rd_kafka_event_type(event) == sys::RD_KAFKA_EVENT_ERROR
                && code != RDKafkaErrorCode::AllBrokersDown
            {
                let text = sys::rd_kafka_event_error_string(event);
                let text = match text.is_null() {
                    true => String::new(),
                    false => CStr::from_ptr(text).to_string_lossy().into_owned(),
                };
                said = Some((code, text));
            }
            sys::rd_kafka_event_destroy(event);
        }
    }
    said
}

/// What stands for a header name that is no UTF-8: no list of known names has it.
pub(super) const NO_TEXT: &str = "\u{fffd}";

/// Names and values of a record's headers, in order.
///
/// The wrapper's own accessor unwraps the name's UTF-8, so that whoever writes to a source topic
/// could stop the process.
pub(super) fn headers(headers: &BorrowedHeaders) -> Vec<(&str, Option<&[u8]>)> {
    // The wrapper's reference is the native pointer under another type.
    let native = std::ptr::from_ref(headers).cast_mut().cast::<sys::rd_kafka_headers_t>();
    let mut found = Vec::new();
    // SAFETY: names and values live in the native headers, which the borrow keeps alive, and the
    // result borrows as long. librdkafka ends each name with a zero byte, and a value that is not
    // null has `size` bytes.
    unsafe {
        for i in 0..sys::rd_kafka_header_cnt(native) {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            let code = sys::rd_kafka_header_get_all(native, i, &mut name, &mut value, &mut size);
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                break;
            }
            let name = CStr::from_ptr(name).to_str().unwrap_or(NO_TEXT);
            let value =
                (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            found.push((name, value));
        }
    }
    found
}

/// A topic as the broker describes it; the rights only where they were asked for and told.
pub(super) type Described = (TopicIdentity, Option<Rights>);

/// Topic ids, partitions and copies, in the order of `names`; `None` where there is no such topic.
pub(super) fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    with_rights: bool,
    timeout: Duration,
) -> Result<Vec<Option<Described>>, NoAnswer> {
    let names: Vec<CString> = names
        .iter()
        .map(|name| CString::new(*name))
        .collect::<Result<_, _>>()
        .map_err(|_| NoAnswer::Malformed("a topic name with a zero byte"))?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let rk = client.native_ptr();
    // SAFETY: `names` outlives the collection, which copies them. Queue, options, collection and
    // event are freed in reverse order by `Owned`, the event first: the result and everything
    // reached through it live inside the event, and only copies leave this block. An event of
    // another type makes the result null, which is looked at. Counts come with their arrays.
    unsafe {
        let queue = owned(sys::rd_kafka_queue_new(rk), sys::rd_kafka_queue_destroy)?;
        let options = owned(
            sys::rd_kafka_AdminOptions_new(
                rk,
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            sys::rd_kafka_AdminOptions_destroy,
        )?;
        let mut problem = [0; 128];
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options.0,
            millis(timeout),
            problem.as_mut_ptr(),
            problem.len(),
        );
        let refused = sys::rd_kafka_AdminOptions_set_include_authorized_operations(
            options.0,
            i32::from(with_rights),
        );
        if !refused.is_null() {
            sys::rd_kafka_error_destroy(refused);
        }
        let collection = owned(
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            sys::rd_kafka_TopicCollection_destroy,
        )?;
        sys::rd_kafka_DescribeTopics(rk, collection.0, options.0, queue.0);
        // librdkafka ends the request itself at its timeout; a second more is never needed.
        let wait = millis(timeout).saturating_add(1_000);
        let event = sys::rd_kafka_queue_poll(queue.0, wait);
        if event.is_null() {
            return Err(NoAnswer::Code(RDKafkaErrorCode::OperationTimedOut));
        }
        let event = owned(event, sys::rd_kafka_event_destroy)?;
        let code = sys::rd_kafka_event_error(event.0);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(NoAnswer::Code(code.into()));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err(NoAnswer::Malformed("an event of another type"));
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count != names.len() {
            return Err(NoAnswer::Malformed("a count of topics that was not asked for"));
        }
        let mut found = Vec::with_capacity(count);
        for (i, name) in names.iter().enumerate() {
            found.push(topic(*topics.add(i), name)?);
        }
        Ok(found)
    }
}

/// # Safety
///
/// `topic` is a description inside an event that is alive.
unsafe fn topic(
    topic: *const sys::rd_kafka_TopicDescription_t,
    name: &CStr,
) -> Result<Option<Described>, NoAnswer> {
    // SAFETY: as promised by the caller; each pointer is looked at before it is followed.
    unsafe {
        let error = sys::rd_kafka_TopicDescription_error(topic);
        let code = RDKafkaErrorCode::from(sys::rd_kafka_error_code(error));
        match code {
            RDKafkaErrorCode::NoError => {}
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                return Ok(None);
            }
            code => return Err(NoAnswer::Code(code)),
        }
        let answered = sys::rd_kafka_TopicDescription_name(topic);
        if answered.is_null() || CStr::from_ptr(answered) != name {
            return Err(NoAnswer::Malformed("another topic than was asked for"));
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let text = if id.is_null() { std::ptr::null() } else { sys::rd_kafka_Uuid_base64str(id) };
        if text.is_null() {
            return Err(NoAnswer::Malformed("a topic without an id; brokers before 2.8 have none"));
        }
        let id = CStr::from_ptr(text).to_string_lossy().into_owned();
        let mut partitions = 0;
        let infos = sys::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        let mut replication = i32::MAX;
        for i in 0..partitions {
            let mut copies = 0;
            sys::rd_kafka_TopicPartitionInfo_replicas(*infos.add(i), &mut copies);
            replication = replication.min(i32::try_from(copies).unwrap_or(i32::MAX));
        }
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        if partitions == 0 {
            return Err(NoAnswer::Malformed("a topic without partitions"));
        }
        Ok(Some((TopicIdentity { id, partitions, replication }, rights(topic))))
    }
}

/// # Safety
///
/// `topic` is a description inside an event that is alive.
unsafe fn rights(topic: *const sys::rd_kafka_TopicDescription_t) -> Option<Rights> {
    use sys::rd_kafka_AclOperation_t as Operation;
    // SAFETY: as promised by the caller; the count comes with its array, which lives as long.
    let operations = unsafe {
        let mut count = 0;
        let first = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        if first.is_null() {
            return None;
        }
        std::slice::from_raw_parts(first, count)
    };
    let has = |operation| {
        operations.contains(&operation)
            || operations.contains(&Operation::RD_KAFKA_ACL_OPERATION_ALL)
    };
    Some(Rights {
        read: has(Operation::RD_KAFKA_ACL_OPERATION_READ),
        write: has(Operation::RD_KAFKA_ACL_OPERATION_WRITE),
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, Headers, OwnedHeaders};

    use super::*;

    fn with(name: &[u8], value: Option<&[u8]>) -> OwnedHeaders {
        let owned = OwnedHeaders::new().insert(Header { key: "first", value: Some("1") });
        let native = std::ptr::from_ref(owned.as_borrowed()).cast_mut().cast();
        // SAFETY: the native headers are `owned`'s; name and value are copied.
        let code = unsafe {
            sys::rd_kafka_header_add(
                native,
                name.as_ptr().cast(),
                name.len() as isize,
                value.map_or(std::ptr::null(), |v| v.as_ptr().cast()),
                value.map_or(0, <[u8]>::len) as isize,
            )
        };
        assert_eq!(code, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
        owned
    }

    #[test]
    fn headers_are_as_the_wrapper_gives_them() {
        for value in [Some(&b"v\0v"[..]), Some(b""), None] {
            let owned = with(b"second", value);
            let ours = headers(owned.as_borrowed());
            let theirs: Vec<_> =
                owned.as_borrowed().iter().map(|header| (header.key, header.value)).collect();
            assert_eq!(ours, theirs);
            assert_eq!(ours, [("first", Some(&b"1"[..])), ("second", value)]);
        }
        assert_eq!(headers(OwnedHeaders::new().as_borrowed()), []);
    }

    #[test]
    fn a_header_name_that_is_no_text_bad_name() {
        let owned = with(b"\xff\xfe", Some(b"v"));
        assert_eq!(headers(owned.as_borrowed())[1], (NO_TEXT, Some(&b"v"[..])));
        // The control: the wrapper's own accessor panics.
        let panics = std::panic::catch_unwind(|| owned.as_borrowed().get(1).key.len());
        assert!(panics.is_err());
    }
}
