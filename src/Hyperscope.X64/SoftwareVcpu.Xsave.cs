namespace Hyperscope.X64;

/// <summary>The XSAVE image.</summary>
public sealed partial class SoftwareVcpu
{
    /// <inheritdoc/>
    public void GetXsave(Span<byte> image) => throw new NotImplementedException();

    /// <inheritdoc/>
    public bool TrySetXsave(ReadOnlySpan<byte> image) => throw new NotImplementedException();
}
