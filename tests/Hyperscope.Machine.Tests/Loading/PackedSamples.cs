namespace Hyperscope.Machine.Tests;

/// <summary>One text, packed by the tools that build kernels: xz 5.4, zstd 1.5, lz4 1.9 and gzip 1.12.</summary>
internal static class PackedSamples
{
    /// <summary>1500 times a line of text, every 150th followed by an x86 call instruction.</summary>
    public static byte[] Unpacked()
    {
        var bytes = new List<byte>();
        for (int i = 0; i < 1500; i++)
        {
            bytes.AddRange("Hyperscope kernel payload, "u8);
            if (i % 150 == 0)
                bytes.AddRange([0xe8, (byte)i, (byte)(i >> 8), 0, 0]);
        }

        return [.. bytes];
    }

    public static byte[] XzWithX86Filter => Convert.FromBase64String(
        """
        /Td6WFoAAAFpIt42AgEEACEBEACLIW9J4J5lAJNdACQeSgZnknC3K3cH7oSFkgPnoiN80YeQg25Jz25f9CqstZyCt5HGrOh4tkHBLqaFYNbpHG
        CbocB0AQonVJv8GsbLLbhGHRItAUmKhUOSDBU2j44qj+LoVIORd5eIpc77dMu2egjz6Fm0ihFGoFQjXyrxciKT1BNuT+rZFD7fEXDkH7kUQBvJ
        RTOSH/vsw4k97iSAAAAAOefRhgABqwHmvAIAUmeIgD4wDYsCAAAAAAFZWg==
        """);

    public static byte[] Zstd => Convert.FromBase64String(
        """
        KLUv/QRoxQIAxAJIeXBlcnNjb3BlIGtlcm5lbCBwYXlsb2FkLCDoAOiWLAHCWALuhAMaBLBGBQwggCPZHbb3cfo+k36/Sd9v0+cL6fs4/T6Tfv
        02fe2L37R3+DaEIaA4ARQ3o0Y=
        """);

    public static byte[] Lz4Legacy => Convert.FromBase64String(
        """
        AiFMGPgAAAD/EUh5cGVyc2NvcGUga2VybmVsIHBheWxvYWQsIOgAAAAAIAAIDxsA////////////////////sy/oltcP//////////////////
        //0i8sAdcP////////////////////0R/C1w/////////////////////SL1gC1w/////////////////////RH+7XD///////////////////
        /9IvhAPXD////////////////////9EvGgTXD////////////////////9EfsNcP////////////////////0i9GBdcP//////////////////
        //sFBvYWQsIA==
        """);

    public static byte[] Gzip => Convert.FromBase64String(
        """
        H4sIAAAAAAACA+3XsQ2CUBRAURVdguoPwByGEWyJ/EoCP1jRO4NzOIPTUDmDLmDPS85tzwS3XUqe79ep5HTL85iHVLplmLq+SevuV/vfEUIIIY
        QQQgghtFlan7YeIYQQQgghhBCKuvXN3tYjhBBCCCGEEEJBt/5t6xFCCCGEEEIIoahbfznYeoQQQgghhBBCKOjWf2w9QgghhBBCCCEUdesfla1H
        CCGEEEIIIYSCbn19tPUIIYQQQgghhFDQrX/ZeoQQQgghhBBCKOrWn0+2HiGEEEIIIYQQ2jB9ATnn0YZmngAA
        """);
}
