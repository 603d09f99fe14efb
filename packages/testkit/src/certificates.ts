import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Makes certificates with openssl: an authority `ca` with those of `server` (localhost, 127.0.0.1), `client` and `expired` (within a
 * second), and an authority `other` with that of `stranger`; NAME.pem and NAME.key in a folder.
 *
 * @returns false when openssl is not installed
 */
export function makeCertificates(dir: string): boolean {
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
  try {
    openssl("version");
  } catch {
    return false;
  }
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"];
  // etcd shows its own certificate as a client's, too.
  writeFileSync(join(dir, "san"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth");
  for (const [ca, names] of [
    ["ca", ["server", "client", "expired"]],
    ["other", ["stranger"]],
  ] as const) {
    openssl("req", "-x509", ...key, "-keyout", `${ca}.key`, "-out", `${ca}.pem`, "-subj", `/CN=${ca}`);
    for (const name of names) {
      openssl("req", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
      const from = ["-CA", `${ca}.pem`, "-CAkey", `${ca}.key`, "-CAcreateserial", "-extfile", "san"];
      openssl(
        "x509",
        "-req",
        "-in",
        `${name}.csr`,
        "-out",
        `${name}.pem`,
        ...from,
        "-days",
        name === "expired" ? "0" : "1",
      );
    }
  }
  return true;
}

/** An SSLConfig of the server's certificate; clients must show one of `ca` where `isClientVerified`. */
export function sslConfig(dir: string, isClientVerified: boolean): string {
  const pem = (name: string) => JSON.stringify(readFileSync(join(dir, name), "utf8"));
  const ca = isClientVerified ? `custom_ca: ${pem("ca.pem")} client_verify: true` : "";
  return `server_key: ${pem("server.key")} server_cert: ${pem("server.pem")} ${ca}`;
}
