using System.Text.Json;

namespace Hyperscope.GuestLinux;

public sealed partial class LinuxGuest
{
    /// <summary>Writes the kernel's types and symbols as a symbol file (ISF) for Volatility 3 and LibVMI.</summary>
    /// <param name="target">Gets JSON, some tens of megabytes.</param>
    /// <param name="cancellation">Ends the writing.</param>
    /// <exception cref="LinuxGuestException">The kernel does not describe its types.</exception>
    public async Task<IsfSummary> WriteSymbolFileAsync(Stream target, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(target);
        await using var json = new Utf8JsonWriter(target);
        return await new IsfWriter(this, json).WriteAsync(cancellation).ConfigureAwait(false);
    }
}
