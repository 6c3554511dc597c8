# A module of NixOS:
#
#     imports = [ ./module.nix ];
#     services.tlshd = {
#       enable = true;
#       package = pkgs.callPackage ./package.nix { src = ./tlshd-0.2.0.tar.xz; };
#       settings."authenticate.client" = {
#         "x509.truststore" = "/etc/tlshd/ca.pem";
#         "x509.certificate" = "/etc/tlshd/client.pem";
#         "x509.private_key" = "/var/lib/tlshd-keys/client.key";
#       };
#     };
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.tlshd;
  format = pkgs.formats.ini { };
in
{
  options.services.tlshd = {
    enable = lib.mkEnableOption "tlshd, which performs TLS handshakes for NFS, NVMe/TCP and other kernel consumers";
    package = lib.mkOption {
      type = lib.types.package;
      description = "The package that has tlshd.";
    };
    settings = lib.mkOption {
      type = format.type;
      default = { };
      description = "Sections and keys of {file}`/etc/tlshd/config`; see {manpage}`tlshd.conf(5)`. Keys and their PINs must not stand here: everybody can read the store.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.etc."tlshd/config".source = format.generate "tlshd.conf" cfg.settings;
    boot.kernelModules = [ "tls" ];

    users.users.tlshd = {
      isSystemUser = true;
      group = "tlshd";
      description = "TLS handshake workers";
    };
    users.groups.tlshd = { };
    users.users.tlshd-signer = {
      isSystemUser = true;
      group = "tlshd-signer";
      description = "TLS handshake signer";
    };
    users.groups.tlshd-signer = { };

    # The unit of the package. An empty first entry removes the entries of the unit.
    systemd.packages = [ cfg.package ];
    systemd.services.tlshd = {
      wantedBy = [ "remote-fs.target" ];
      serviceConfig = {
        ExecReload = [
          ""
          "${pkgs.coreutils}/bin/kill -HUP $MAINPID"
        ];
        # Programs and libraries are in the store alone.
        ExecPaths = [
          ""
          "/nix/store"
        ];
      };
    };
  };
}
