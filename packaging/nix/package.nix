# A package of nixpkgs: callPackage ./package.nix { src = ./tlshd-0.2.0.tar.xz; }, with what `make dist` makes. It needs Swift 6.2.3 as
# `swift`; that of nixpkgs may be older.
{
  lib,
  stdenv,
  src,
  swift,
  swiftpm,
  lld,
  pkg-config,
  gnutls,
  keyutils,
  libnl,
  libseccomp,
}:

stdenv.mkDerivation {
  pname = "tlshd";
  version = "0.2.0";
  inherit src;

  nativeBuildInputs = [
    swift
    swiftpm
    lld
    pkg-config
  ];
  buildInputs = [
    gnutls
    keyutils
    libnl
    libseccomp
  ];

  postPatch = "patchShebangs .ci packaging";

  makeFlags = [
    "SHELL=${stdenv.shell}"
    "PREFIX=${placeholder "out"}"
    "SBINDIR=${placeholder "out"}/bin"
    "SYSCONFDIR=${placeholder "out"}/etc"
  ];
  buildFlags = [ "build" ];
  installTargets = [ "install-files" ];
  doInstallCheck = true;
  installCheckPhase = "$out/bin/tlshd --version";

  meta = {
    description = "TLS handshake daemon for NFS, NVMe/TCP and other kernel consumers";
    license = [ lib.licenses.asl20 ];
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    mainProgram = "tlshctl";
  };
}
