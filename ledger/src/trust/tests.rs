use super::*;

fn person(name: &str, key: &SigningKey, roles: &[Role]) -> Approver {
    Approver { name: name.to_owned(), key: key.verifying_key(), roles: roles.to_vec() }
}

fn file(envelopes: &[&Envelope]) -> Vec<u8> {
    envelopes.iter().flat_map(|envelope| envelope.to_bytes().unwrap()).collect()
}

const ALL: &[Role] = &[Role::Approve, Role::Revoke, Role::Trust];

#[test]
fn a_new_root_needs_the_old_threshold() {
    let [a, b, c] = std::array::from_fn(|_| SigningKey::generate().unwrap());
    let first = Root::first(2, vec![person("ada", &a, ALL), person("bo", &b, ALL)]);
    let first = sign(&first, &[&a, &b]).unwrap();
    let root = TrustRoot::load(&file(&[&first]), None).unwrap();
    assert_eq!(root.with_role(Role::Approve).count(), 2);

    let next = root.propose(1, vec![person("cy", &c, ALL)]);
    let good = sign(&next, &[&b, &a]).unwrap();
    let newest = TrustRoot::load(&file(&[&first, &good]), Some(&root.digest())).unwrap();
    assert_eq!(newest.root().version, 2);
    assert_eq!(newest.first_digest(), root.digest());

    // by one of two, by the new holder, by nobody's order, from another first root
    let few = sign(&next, &[&a]).unwrap();
    let fault = TrustRoot::load(&file(&[&first, &few]), None).unwrap_err();
    assert_eq!(fault, TrustFault::Threshold { version: 2, found: 1, needed: 2 });
    let own = sign(&next, &[&c]).unwrap();
    assert!(TrustRoot::load(&file(&[&first, &own]), None).is_err());
    assert!(TrustRoot::load(&file(&[&good]), None).is_err());
    assert!(TrustRoot::load(&file(&[&first, &good, &good]), None).is_err());
    assert_eq!(TrustRoot::load(&file(&[&first]), Some(&[0; 32])).unwrap_err(), TrustFault::Pin);
    assert_eq!(TrustRoot::load(b"", None).unwrap_err(), TrustFault::File);
}

#[test]
fn refuses_root_bad_contents() {
    let [a, b] = std::array::from_fn(|_| SigningKey::generate().unwrap());
    let ok = vec![person("ada", &a, ALL), person("bo", &b, ALL)];
    let with = |threshold, change: &dyn Fn(&mut Vec<Approver>)| {
        let mut approvers = ok.clone();
        change(&mut approvers);
        sign(&Root::first(threshold, approvers), &[&a, &b])
    };
    assert!(with(2, &|_| ()).is_ok());
    assert!(with(0, &|_| ()).is_err());
    assert!(with(3, &|_| ()).is_err());
    assert!(with(2, &|p| p[1].name = "ada".into()).is_err());
    assert!(with(2, &|p| p[1].name = "Bo".into()).is_err());
    assert!(with(2, &|p| p[1].key = p[0].key).is_err());
    assert!(with(2, &|p| p[1].roles = vec![Role::Approve]).is_err());
    assert!(with(2, &|p| p[1].roles = vec![Role::Trust, Role::Approve]).is_err());
    assert!(with(1, &|p| p.clear()).is_err());
}

#[test]
fn a_holder_without_the_role_does_not_count() {
    let [a, b] = std::array::from_fn(|_| SigningKey::generate().unwrap());
    let people = vec![person("ada", &a, ALL), person("bo", &b, &[Role::Approve])];
    let first = Root::first(1, people.clone());
    assert!(matches!(
        TrustRoot::load(&file(&[&sign(&first, &[&b]).unwrap()]), None),
        Err(TrustFault::Threshold { found: 0, .. })
    ));
    assert!(TrustRoot::load(&file(&[&sign(&first, &[&a]).unwrap()]), None).is_ok());
}
