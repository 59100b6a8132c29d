namespace Hyperscope.GuestLinux.Tests;

/// <summary>Profiles that are none.</summary>
public sealed class ProfileFolderTests
{
    [Theory]
    [InlineData("")]
    [InlineData("48534c5001000000")]
    [InlineData("48534c5001000000 0000000000000000 0000000000000000 00000000 ffffffffff")] // a name of any length
    [InlineData("48534c5001000000 0000000000000000 0000000000000000 00000000 00 ffffffffffffffff")]
    public async Task A_damaged_profile_is_as_good_as_none(string hex)
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("hyperscope-");
        try
        {
            await File.WriteAllBytesAsync(
                Path.Combine(folder.FullName, "x.profile"), Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal)), TestContext.Current.CancellationToken);
            var synthetic = new SyntheticGuest();
            LinuxGuest guest = await synthetic.AttachAsync();
            Assert.Null(await new ProfileFolder(folder.FullName).FindAsync(guest.OpenMemory(), [synthetic.InUserMode], TestContext.Current.CancellationToken));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
