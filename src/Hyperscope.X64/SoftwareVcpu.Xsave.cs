using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>The floating-point and vector registers as one standard-format XSAVE image.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private const int XsaveImageSize = 4096;

    /// <inheritdoc/>
    public void GetXsave(Span<byte> image)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(image.Length, XsaveImageSize);
        Accelerator?.Fetch(AcceleratorState.Vector);
        image.Clear();
        fixed (byte* bytes = image)
        {
            XsaveArea.StoreX87(_c, bytes, wide: true);
            *(uint*)(bytes + XsaveArea.MxcsrOffset) = _c->Mxcsr;
            *(uint*)(bytes + XsaveArea.MxcsrOffset + 4) = VectorUnit.MxcsrMask;
            XsaveArea.StoreXmm(_c, bytes, 16);
            *(ulong*)(bytes + XsaveArea.HeaderOffset) = XsaveArea.Supported;
        }
    }

    /// <inheritdoc/>
    /// <remarks>Refused: state components that the vCPU does not have, the compacted format, reserved header or MXCSR bits.
    /// A component that the header does not name gets its initial configuration.</remarks>
    public bool TrySetXsave(ReadOnlySpan<byte> image)
    {
        if (image.Length > XsaveImageSize)
            return false;
        Accelerator?.Fetch(AcceleratorState.Vector);
        byte* bytes = stackalloc byte[XsaveArea.LegacySize + XsaveArea.HeaderSize];
        var known = new Span<byte>(bytes, XsaveArea.LegacySize + XsaveArea.HeaderSize);
        known.Clear();
        image[..Math.Min(image.Length, known.Length)].CopyTo(known);
        ulong components = *(ulong*)(bytes + XsaveArea.HeaderOffset);
        uint mxcsr = *(uint*)(bytes + XsaveArea.MxcsrOffset);
        if ((components & ~XsaveArea.Supported) != 0 || (mxcsr & ~VectorUnit.MxcsrMask) != 0
            || known.Slice(XsaveArea.HeaderOffset + 8, 16).ContainsAnyExcept((byte)0))
        {
            return false;
        }

        if ((components & XsaveArea.X87) != 0)
            XsaveArea.LoadX87(_c, bytes, wide: true);
        else
            XsaveArea.InitializeX87(_c);
        bool hasSse = (components & XsaveArea.Sse) != 0;
        XsaveArea.LoadXmm(_c, hasSse ? bytes : null, 16);
        _c->Mxcsr = hasSse ? mxcsr : VectorUnit.InitialMxcsr;
        return true;
    }

    // INIT leaves these alone; only power-up and reset come here.
    private void ResetVectorState()
    {
        XsaveArea.InitializeX87(_c);
        XsaveArea.LoadXmm(_c, null, 16);
        _c->X87Control = XsaveArea.X87ControlAtReset;
        _c->X87Tags = 0xFF;
        _c->Mxcsr = VectorUnit.InitialMxcsr;
    }
}
