//! Lifecycle configurations as servers other than AWS print what they have stored: MinIO, Ceph's gateway, Garage.

/// Name, document and number of rules.
pub const PRINTED: &[(&str, &str, usize)] = &[
    (
        "MinIO: prefix",
        "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix>x/</Prefix></Filter><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>",
        1,
    ),
    (
        "MinIO: legacy prefix behind the status",
        "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Prefix>x/</Prefix><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>",
        1,
    ),
    (
        "MinIO: empty filter",
        "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter></Filter><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>",
        1,
    ),
    (
        "MinIO: Go's references",
        "<LifecycleConfiguration><Rule><ID>a&#39;b&#34;c</ID><Status>Enabled</Status><Filter><Prefix>a&#39;b&#34;c&amp;&#x9;&#xA;/</Prefix></Filter><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>",
        1,
    ),
    (
        "MinIO: all versions of an object",
        "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix>x/</Prefix></Filter><Expiration><Days>9</Days><ExpiredObjectAllVersions>true</ExpiredObjectAllVersions></Expiration></Rule></LifecycleConfiguration>",
        1,
    ),
    (
        "MinIO: delete markers by age",
        "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix>x/</Prefix></Filter><DelMarkerExpiration><Days>9</Days></DelMarkerExpiration></Rule></LifecycleConfiguration>",
        1,
    ),
    (
        "MinIO: tier",
        "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix>x/</Prefix></Filter><Transition><Days>30</Days><StorageClass>COLD-1</StorageClass></Transition></Rule></LifecycleConfiguration>",
        1,
    ),
    (
        "MinIO: tier at once",
        "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix>x/</Prefix></Filter><Transition><StorageClass>COLD-1</StorageClass></Transition></Rule></LifecycleConfiguration>",
        1,
    ),
    (
        "MinIO: old versions to a tier",
        "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix>x/</Prefix></Filter><NoncurrentVersionTransition><NoncurrentDays>7</NoncurrentDays><StorageClass>COLD-1</StorageClass></NoncurrentVersionTransition></Rule></LifecycleConfiguration>",
        1,
    ),
    (
        "MinIO: only the newest old versions",
        "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix>x/</Prefix></Filter><NoncurrentVersionExpiration><NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>",
        1,
    ),
    (
        "Ceph: prefix",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>r</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"#,
        1,
    ),
    (
        "Ceph: filter of nothing becomes a legacy prefix",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>r</ID><Prefix></Prefix><Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"#,
        1,
    ),
    (
        "Ceph: an id that it made",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>0kq3v9x2m7c1b8n4z6l5j0h3g9f2d7s1a4p6o8i5u2y7t1r3</ID><Prefix>x/</Prefix><Status>Disabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"#,
        1,
    ),
    (
        "Ceph: newest old versions first",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>r</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><NoncurrentVersionExpiration><NewerNoncurrentVersions>3</NewerNoncurrentVersions><NoncurrentDays>7</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>"#,
        1,
    ),
    (
        "Ceph: archive zone",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>r</ID><Filter><And><Prefix>x/</Prefix><ArchiveZone></ArchiveZone></And></Filter><Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"#,
        1,
    ),
    (
        "Ceph: transitions behind the rest",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>r</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>90</Days></Expiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload><Transition><Days>9</Days><StorageClass>cold</StorageClass></Transition></Rule></LifecycleConfiguration>"#,
        1,
    ),
    (
        "Ceph: marker",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>r</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration></Rule></LifecycleConfiguration>"#,
        1,
    ),
    (
        "Ceph: two sizes side by side",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>r</ID><Filter><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan><ObjectSizeLessThan>900</ObjectSizeLessThan></Filter><Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"#,
        1,
    ),
    (
        "Garage: prefix",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix>x/</Prefix></Filter><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"#,
        1,
    ),
    (
        "Garage: no filter at all",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>r</ID><Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"#,
        1,
    ),
    (
        "Garage: date without time",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix>x/</Prefix></Filter><Expiration><Date>2030-01-01</Date></Expiration></Rule></LifecycleConfiguration>"#,
        1,
    ),
    (
        "Garage: no id",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><Status>Enabled</Status><Filter><And><Prefix>x/</Prefix><ObjectSizeGreaterThan>1000000</ObjectSizeGreaterThan></And></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>"#,
        1,
    ),
];
