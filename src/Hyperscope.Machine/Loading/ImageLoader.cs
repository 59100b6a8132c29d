namespace Hyperscope.Machine;

/// <summary>Chooses a loader by looking at the image.</summary>
public static class ImageLoader
{
    /// <summary>Loads a kernel: bzImage or ELF as Linux, multiboot-1 with the initial RAM disk as its only module.</summary>
    /// <exception cref="ImageFormatException">It is none of these, damaged, or does not fit.</exception>
    public static BootImage LoadKernel(ReadOnlyMemory<byte> image, LinuxBootOptions options)
    {
        if (LinuxLoader.IsBzImage(image.Span))
            return LinuxLoader.Load(image, options);
        if (MultibootLoader.IsMultiboot(image.Span))
        {
            IReadOnlyList<MultibootModule> modules = options.Initrd.IsEmpty ? [] : [new MultibootModule(options.Initrd, "initrd")];
            return MultibootLoader.Load(image, options.CommandLine, modules, options.Memory);
        }

        if (ElfFile.IsElf(image.Span))
            return LinuxLoader.Load(image, options);
        throw new ImageFormatException("kernel: neither bzImage, multiboot nor ELF; load other images as flat ones");
    }
}
