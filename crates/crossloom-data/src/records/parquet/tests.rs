#![allow(clippy::unwrap_used)]

use super::compact::walk;
use super::footer::Footer;
use super::pages::judge;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// An integer in a field whose number is so much higher than that of the field before.
fn int(step: u8, value: i64) -> Vec<u8> {
    [vec![step << 4 | 5], varint((value << 1 ^ value >> 63) as u64)].concat()
}

/// The header of a page of data with so many bytes, decoded, and values.
fn page(bytes: i64, values: i64) -> Vec<u8> {
    [int(1, 0), int(1, bytes), int(1, 10), vec![0x2c], int(1, values), vec![0, 0]].concat()
}

#[test]
fn what_a_page_declares_is_held_against_limits() {
    assert_eq!(judge(&page(1000, 7)), Ok(1000));
    for (bytes, values) in
        [(i64::from(i32::MAX), 1), (1, i64::from(i32::MAX)), (-1, 1), (1, -1), ((256 << 20) + 1, 1)]
    {
        let problem = judge(&page(bytes, values)).unwrap_err();
        assert!(
            problem.starts_with(&format!("a page declares {bytes} bytes and {values} values")),
            "{problem}"
        );
    }
    let mut endless = page(1, 1);
    endless.pop();
    assert!(judge(&endless).unwrap_err().contains("damaged, or too long"));
}

#[test]
fn values_that_are_nested_too_deep_or_longer_than_the_rest_are_not_walked() {
    let told = |bytes: &[u8]| {
        let mut seen = Vec::new();
        walk(bytes, &mut |path, value| seen.push((path.to_vec(), value))).map(|()| seen)
    };
    assert_eq!(told(&[int(2, -5), vec![0x18, 1, b'a', 0]].concat()), Some(vec![(vec![2], -5), (vec![3], 1)]));
    // A list of a million texts, a text of 2^60 bytes, and structs in structs.
    assert_eq!(told(&[vec![0x19, 0xf8], varint(1_000_000), vec![0]].concat()), None);
    assert_eq!(told(&[vec![0x18], varint(1 << 60)].concat()), None);
    assert_eq!(told(&vec![0x1c; 100_000]), None);
}

/// A file of nothing but a footer with these columns: each with the number of those that it holds.
fn of_columns(held: &[i64]) -> Vec<u8> {
    let column = |held: &i64| [vec![0x48, 1, b'a'], int(1, *held), vec![0]].concat();
    let columns: Vec<u8> = held.iter().flat_map(column).collect();
    let footer = [int(1, 1), vec![0x19, 0xfc], varint(held.len() as u64), columns, vec![0]].concat();
    [b"PAR1".to_vec(), footer.clone(), (footer.len() as u32).to_le_bytes().to_vec(), b"PAR1".to_vec()]
        .concat()
}

#[test]
fn columns_that_a_footer_only_declares_take_no_memory() {
    let refused = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Footer::read(&std::fs::File::open(file.path()).unwrap()).unwrap_err()
    };
    for columns in [vec![i64::from(i32::MAX)], vec![1; 10_000], vec![-1]] {
        let problem = refused(&of_columns(&columns));
        assert!(
            problem.starts_with("its columns are nested more than 16 deep, or more than 65536"),
            "{problem}"
        );
    }
    let mut longer = of_columns(&[0]);
    let at = longer.len() - 8;
    longer[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let problem = refused(&longer);
    assert!(problem.starts_with("its footer declares 4294967295 bytes; the file has "), "{problem}");
}
