using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Text;

namespace Hyperscope.LinuxHost;

/// <summary>The kinds of stream socket.</summary>
public enum EndpointKind
{
    /// <summary>A socket file (AF_UNIX).</summary>
    Unix,

    /// <summary>A port of a VM or of the host (AF_VSOCK).</summary>
    Vsock,

    /// <summary>A TCP port (AF_INET).</summary>
    Tcp,
}

/// <summary>Where to listen or connect: <c>unix:PATH</c>, <c>vsock:CID:PORT</c> or <c>tcp:HOST:PORT</c>.</summary>
/// <remarks>CID is a number, <c>any</c>, <c>local</c> or <c>host</c>. HOST is an IPv4 address or <c>localhost</c>, and must be a loopback
/// address unless the caller allows more: the protocol has no encryption. Port 0 asks the kernel for a free TCP port when
/// listening.</remarks>
public sealed record Endpoint
{
    /// <summary>The vsock CID that listens on all of this machine's CIDs (VMADDR_CID_ANY).</summary>
    public const uint AnyCid = uint.MaxValue;

    private const string Forms = "unix:PATH, vsock:CID:PORT or tcp:HOST:PORT";
    private const int MaxPathBytes = 107; // sun_path, with its terminator

    private Endpoint()
    {
    }

    /// <summary>The kind of socket.</summary>
    public EndpointKind Kind { get; private init; }

    /// <summary>The socket file; empty unless <see cref="Kind"/> is Unix.</summary>
    public string Path { get; private init; } = "";

    /// <summary>The vsock context id; 0 unless <see cref="Kind"/> is Vsock.</summary>
    public uint Cid { get; private init; }

    /// <summary>The TCP address; 0.0.0.0 unless <see cref="Kind"/> is Tcp.</summary>
    public IPAddress Address { get; private init; } = IPAddress.Any;

    /// <summary>The vsock or TCP port.</summary>
    public uint Port { get; private init; }

    /// <summary>Makes a <c>unix:</c> endpoint.</summary>
    /// <exception cref="FormatException">The path is empty, holds a NUL or is longer than 107 bytes.</exception>
    public static Endpoint Unix(string path) =>
        CheckPath(path) is { } error ? throw new FormatException(error) : new Endpoint { Kind = EndpointKind.Unix, Path = path };

    /// <summary>Makes a <c>vsock:</c> endpoint.</summary>
    public static Endpoint Vsock(uint cid, uint port) => new() { Kind = EndpointKind.Vsock, Cid = cid, Port = port };

    /// <summary>Makes a <c>tcp:</c> endpoint on 127.0.0.1.</summary>
    public static Endpoint Loopback(ushort port) => new() { Kind = EndpointKind.Tcp, Address = IPAddress.Loopback, Port = port };

    /// <summary>Reads an endpoint.</summary>
    /// <param name="text">One of the three forms.</param>
    /// <param name="allowRemote">Accept TCP addresses beyond loopback.</param>
    /// <exception cref="FormatException">The text is none; the message says what is wrong.</exception>
    public static Endpoint Parse(string text, bool allowRemote = false) =>
        TryParse(text, allowRemote, out Endpoint? endpoint, out string? error) ? endpoint : throw new FormatException(error);

    /// <summary>Reads an endpoint, or says in <paramref name="error"/> what is wrong with it.</summary>
    public static bool TryParse(
        string? text, bool allowRemote, [NotNullWhen(true)] out Endpoint? endpoint, [NotNullWhen(false)] out string? error)
    {
        endpoint = null;
        string rest = text ?? "";
        int colon = rest.IndexOf(':', StringComparison.Ordinal);
        string scheme = colon < 0 ? "" : rest[..colon];
        rest = rest[(colon + 1)..];
        error = scheme switch
        {
            "unix" => ParseUnix(rest, out endpoint),
            "vsock" => ParseVsock(rest, out endpoint),
            "tcp" => ParseTcp(rest, allowRemote, out endpoint),
            _ => $"endpoint \"{text}\" is not {Forms}",
        };
        return endpoint is not null;
    }

    /// <summary>The form that <see cref="Parse"/> reads.</summary>
    public override string ToString() => Kind switch
    {
        EndpointKind.Unix => $"unix:{Path}",
        EndpointKind.Vsock => string.Create(CultureInfo.InvariantCulture, $"vsock:{CidText}:{Port}"),
        _ => string.Create(CultureInfo.InvariantCulture, $"tcp:{Address}:{Port}"),
    };

    internal Endpoint WithPort(uint port) => this with { Port = port };

    private string CidText => Cid == AnyCid ? "any" : Cid.ToString(CultureInfo.InvariantCulture);

    private static string? CheckPath(string path)
    {
        if (path.Length == 0)
            return "endpoint unix: has no path, write unix:/run/name.sock";
        if (path.Contains('\0', StringComparison.Ordinal))
            return "the path of a unix: endpoint holds a NUL character";
        int bytes = Encoding.UTF8.GetByteCount(path);
        return bytes > MaxPathBytes ? $"the path of endpoint unix:{path} has {bytes} bytes, the kernel takes {MaxPathBytes}" : null;
    }

    private static string? ParseUnix(string rest, out Endpoint? endpoint)
    {
        string? error = CheckPath(rest);
        endpoint = error is null ? new Endpoint { Kind = EndpointKind.Unix, Path = rest } : null;
        return error;
    }

    private static string? ParseVsock(string rest, out Endpoint? endpoint)
    {
        endpoint = null;
        string[] parts = rest.Split(':');
        if (parts.Length != 2)
            return $"endpoint vsock:{rest} is not vsock:CID:PORT";
        uint cid;
        switch (parts[0])
        {
            case "any":
                cid = AnyCid;
                break;
            case "local":
                cid = 1;
                break;
            case "host":
                cid = 2;
                break;
            default:
                if (!uint.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out cid))
                    return $"\"{parts[0]}\" in endpoint vsock:{rest} is not a CID: give a number, any, local or host";
                break;
        }

        if (!uint.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out uint port))
            return $"\"{parts[1]}\" in endpoint vsock:{rest} is not a port: give a number from 0 to {uint.MaxValue}";
        endpoint = Vsock(cid, port);
        return null;
    }

    private static string? ParseTcp(string rest, bool allowRemote, out Endpoint? endpoint)
    {
        endpoint = null;
        string[] parts = rest.Split(':');
        if (parts.Length != 2)
            return $"endpoint tcp:{rest} is not tcp:HOST:PORT";
        string host = parts[0] == "localhost" ? "127.0.0.1" : parts[0];

        // Four decimal parts only: IPAddress also reads forms such as 127.1 and 0x7f000001.
        if (host.Split('.').Length != 4 || !IPAddress.TryParse(host, out IPAddress? address))
            return $"\"{parts[0]}\" in endpoint tcp:{rest} is not an IPv4 address or localhost";
        if (!allowRemote && !IPAddress.IsLoopback(address))
            return $"endpoint tcp:{rest} leaves this machine; the protocol is not encrypted, use a loopback address (127.0.0.1)";
        if (!ushort.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out ushort port))
            return $"\"{parts[1]}\" in endpoint tcp:{rest} is not a port: give a number from 0 to {ushort.MaxValue}";
        endpoint = new Endpoint { Kind = EndpointKind.Tcp, Address = address, Port = port };
        return null;
    }
}
